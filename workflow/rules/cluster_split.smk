"""Speakers found by the embeddings alone.

Input: the table of embedded utterances. Output: the cluster of each utterance, the clusters' means
and the numbers behind them.
"""


rule cluster_split:
    """Find the speakers of a split by its embeddings alone."""
    input:
        **table_of_split,
    output:
        clusters=layout.clusters("{split}"),
        means=layout.cluster_means("{split}"),
        summary=layout.clusters_summary("{split}"),
    log:
        layout.log("cluster_split", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/cluster_split.py"
