"""Embed what is missing of a shard with the configured provider and runner."""

import os
import time

STARTED = time.monotonic()
# The encoder was fetched before; a job never asks the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

from xvectors.job.shard_job import embed_shard  # noqa: E402 - clock and switch come first
from xvectors.run.script_log import running  # noqa: E402

if __name__ == "__main__":
    with running(snakemake) as settings:
        wildcards = snakemake.wildcards
        embed_shard(settings, wildcards.split, wildcards.shard, STARTED, snakemake.threads)
