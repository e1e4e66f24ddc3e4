"""Embed a shard's missing utterances with the configured provider and runner."""

import os
import signal
import time

from xvectors.run.step_server import hand_over

hand_over("encoders")

STARTED = time.monotonic()
# An interrupt during the imports ends the job without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
# The encoder has been fetched. A job never asks the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

from xvectors.job.shard_job import embed_shard
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        wildcards = snakemake.wildcards
        embed_shard(settings, wildcards.split, wildcards.shard, STARTED, snakemake.threads)
