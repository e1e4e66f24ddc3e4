"""Embed a shard's missing utterances with the configured provider and runner."""

import os
import time

STARTED = time.monotonic()
# The encoder has been fetched. A job never asks the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

from xvectors.job.shard_job import embed_shard  # noqa: E402 - after the clock and the switch
from xvectors.run.script_log import running  # noqa: E402

if __name__ == "__main__":
    with running(snakemake) as settings:
        wildcards = snakemake.wildcards
        embed_shard(settings, wildcards.split, wildcards.shard, STARTED, snakemake.threads)
