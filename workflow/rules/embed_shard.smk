"""Embed the utterances of a shard.

Input: the plan, with the index shard that belongs to it, and the encoder. Output: an embedding per
utterance, and the done-marker, which is written last and is the only output that Snakemake knows.
"""

from xvectors.encoders.identity import collect_numerics
from xvectors.run import cluster_resources


rule embed_shard:
    """Embed a shard's missing and stale utterances with the configured provider and runner."""
    input:
        # Markers tell which shards a new plan has changed.
        plan=plan_of,
        encoder=layout.encoder_description,
    output:
        marker=layout.marker("{split}", "{shard}"),
    log:
        layout.log("embed_shard", "{split}/{shard}"),
    # Snakemake counts nodes only if jobs run elsewhere. There, nodes are lost, and jobs run out of
    # time and memory. None: what --retries says.
    retries: None if workflow.resource_settings.nodes is None else 2
    conda:
        "../../envs/embedding.yaml"
    threads: threads_of_shard
    resources:
        # Only clusters use these.
        **cluster_resources.gpu(settings),
        mem_mb=lambda wildcards, attempt: cluster_resources.megabytes(attempt),
        cpus_per_task=cluster_resources.processors(settings),
        runtime=lambda wildcards, attempt: cluster_resources.minutes(settings, attempt),
    params:
        numerics=collect_numerics(settings),
    script:
        "../../scripts/embed_shard.py"
