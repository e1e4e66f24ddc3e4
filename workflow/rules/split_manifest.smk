"""Divide each split's manifest among its shards.

Input: the manifest. Output: the plan, and beside it an index shard per job. It is a checkpoint that
is asked only where nothing else tells the number of shards: with ``n_shards: auto`` and many new
recordings, or with a manifest that is made by the same run.
"""


checkpoint split_manifest:
    """Check a manifest and write its index shards, balanced by duration."""
    input:
        look,
        manifest=manifest_of,
    output:
        plan=str(layout.plan("{split}")),
    log:
        log_of("split_manifest", "{split}"),
    localrule: True
    conda:
        "../../envs/results.yaml"
    params:
        n_shards=lambda wildcards: settings.xvector.given_shards(wildcards.split),
    script:
        "../../scripts/split_manifest.py"
