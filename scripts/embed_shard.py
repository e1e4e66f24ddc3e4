"""Embed what is missing of a shard with the configured provider and runner."""

import os
import time

STARTED = time.monotonic()
# The encoder was fetched before; a job never asks the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

from xvectors.config.resolving import resolve_config  # noqa: E402 - clock and switch come first
from xvectors.job.shard_job import embed_shard  # noqa: E402
from xvectors.run.script_log import script_log  # noqa: E402

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        embed_shard(
            resolve_config(snakemake.config),
            snakemake.wildcards.split,
            snakemake.wildcards.shard,
            STARTED,
            snakemake.threads,
        )
