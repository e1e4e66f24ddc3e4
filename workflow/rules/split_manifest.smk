"""Divide each split's manifest among its shards.

Input: the manifest. Output: the plan, and beside it an index shard per job, of which only
those are written that change.
"""


checkpoint split_manifest:
    """Check a manifest and write its index shards, balanced by duration."""
    input:
        manifest=manifest_of,
    output:
        plan=str(layout.plan("{split}")),
    log:
        log_of("split_manifest", "{split}"),
    localrule: True
    conda:
        "../../envs/xvectors.yaml"
    params:
        n_shards=n_shards_of,
    script:
        "../../scripts/split_manifest.py"
