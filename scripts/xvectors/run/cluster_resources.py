"""Requests of a shard job to a cluster: a GPU, processors, memory and time.

Memory and time grow with the attempt, because a job that ran out of either is tried again. All
shards request the same, so that they fit into one job array.
"""

import math

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.sharding.assignment import FILE_OVERHEAD, TOLERANCE
from xvectors.sharding.index_shards import read_plan

MEGABYTES = 4000
# A GPU's job reads and writes in processes of its own.
GPU_PROCESSORS = 4
# Starting up: the environment and the encoder from a slow file system.
STARTUP_MINUTES = 20
# Times real time that any machine should reach; a full-size ECAPA-TDNN reached 25 and 50 on one
# core of two machines.
SLOWEST_CPU = 10
SLOWEST_GPU = 50


def gpu(settings: Settings) -> dict[str, int | str]:
    """Return the request for a GPU. It is empty if the configuration wants the CPU.

    Kubernetes counts a request of 0 as a GPU, too, and wants to know the manufacturer.
    """
    return {"gpu": 1, "gpu_manufacturer": "nvidia"} if _wants_gpu(settings) else {}


def processors(settings: Settings) -> int:
    """Return the processors of a job on a cluster."""
    return GPU_PROCESSORS if _wants_gpu(settings) else 1


def megabytes(attempt: int) -> int:
    """Return the memory of a job."""
    return MEGABYTES * attempt


def minutes(settings: Settings, attempt: int) -> int:
    """Return the run time of a job: for the largest shard of all splits that are split by now."""
    slowest = SLOWEST_GPU if _wants_gpu(settings) else SLOWEST_CPU
    plans = [read_plan(Layout.of(settings).plan(split)) for split in settings.xvector.splits]
    seconds = max(
        (
            TOLERANCE * (plan.audio_seconds + FILE_OVERHEAD * plan.n_utterances) / plan.n_shards
            for plan in plans
            if plan is not None
        ),
        default=0.0,
    )
    return attempt * (STARTUP_MINUTES + math.ceil(seconds / slowest / 60))


def _wants_gpu(settings: Settings) -> bool:
    return settings.xvector.device != "cpu"
