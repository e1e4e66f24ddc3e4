"""Embed the utterances of a shard.

Input: the index shard and the encoder. Output: an embedding per utterance, and the done-marker,
which is written last and is the only output that Snakemake knows.
"""


rule embed_shard:
    """Embed what is missing or stale of a shard with the configured provider and runner."""
    input:
        index_shard=str(layout.index_shard("{split}", "{shard}")),
        encoder=rules.fetch_encoder.output.encoder,
    output:
        marker=str(layout.marker("{split}", "{shard}")),
    log:
        log_of("embed_shard", "{split}/{shard}"),
    benchmark:
        f"benchmarks/embed_shard/{tag}/{{split}}/{{shard}}.tsv"
    conda:
        "../../envs/xvectors.yaml"
    threads: threads_of_shard()
    resources:
        mem_mb=lambda wildcards, attempt: cluster_requests.megabytes(attempt),
        # Only clusters look at these.
        gpu=cluster_requests.gpus(settings),
        cpus_per_task=cluster_requests.processors(settings),
        runtime=lambda wildcards, attempt: cluster_requests.minutes(settings, attempt),
    params:
        numerics=collect_numerics(settings),
    script:
        "../../scripts/embed_shard.py"
