"""Divide each split's manifest among its shards.

Input: the manifest. Output: the plan, and beside it an index shard per job. The checkpoint waits for
the plan where nothing else tells the number of shards, or which of them are stale: with
``n_shards: auto`` and many new recordings, or with a manifest that is made by the same run.
"""


rule split_manifest:
    """Check a manifest and write its index shards, balanced by duration."""
    input:
        force_stale_jobs,
        manifest=manifest_of,
    output:
        plan=layout.plan("{split}"),
    log:
        layout.log("split_manifest", "{split}"),
    localrule: True
    conda:
        "../../envs/results.yaml"
    params:
        n_shards=lambda wildcards: settings.xvector.given_shards(wildcards.split),
    script:
        "../../scripts/split_manifest.py"


checkpoint count_shards:
    """Read the records of a split again after its manifest was split."""
    input:
        plan=layout.plan("{split}"),
    output:
        counted=touch(layout.counted("{split}")),
    localrule: True
