"""Check and list the embeddings of a split.

Input: the done-markers of all its shards. Output: the tables of embedded, failed and excluded
utterances, and a note of the markers, for the rules that follow.
"""


rule collect_split:
    """Check that every utterance is embedded or listed as failed, and write the tables."""
    input:
        manifest=manifest_of,
        plan=layout.plan("{split}"),
        counted=counted_of,
        markers=refusing(lambda wildcards: markers_of(wildcards.split)),
    output:
        table=layout.table("{split}"),
        failures=layout.failures("{split}"),
        excluded=products.excluded(),
        collected=layout.collected("{split}"),
    log:
        layout.log("collect_split", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/collect_split.py"
