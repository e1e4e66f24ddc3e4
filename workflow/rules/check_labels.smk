"""Speaker labels that may be wrong.

Input: the table of embedded utterances and the manifest. Output: a verdict on each label, the numbers
behind it, and a manifest without the suspect ones.
"""


rule check_labels:
    """Check the speaker labels of a split with its embeddings."""
    input:
        **table_of_split,
        manifest=manifest_of,
    output:
        labels=layout.labels("{split}"),
        summary=layout.labels_summary("{split}"),
        clean=layout.clean_manifest("{split}"),
    log:
        layout.log("check_labels", "{split}"),
    localrule: True
    conda:
        results_env
    params:
        false_discovery_rate=settings.xvector.label_false_discovery_rate,
    script:
        "../../scripts/check_labels.py"
