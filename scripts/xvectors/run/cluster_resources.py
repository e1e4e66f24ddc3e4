"""What a shard job asks of a cluster: a GPU, processors, memory and time.

Memory and time grow with the attempt, as a job that ran out of either is tried again. All
shards ask for the same, so that they fit into one job array.
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
# Times real time that any machine should reach; a full-size ECAPA-TDNN made 25 and 50 on one core
# of two machines (docs/performance.md).
SLOWEST_CPU = 10
SLOWEST_GPU = 50


def gpus(config: Settings) -> int:
    """Return 1, or 0 where the configuration wants the CPU."""
    return 0 if config.xvector.device == "cpu" else 1


def processors(config: Settings) -> int:
    """Return the processors of a job on a cluster."""
    return GPU_PROCESSORS if gpus(config) else 1


def megabytes(attempt: int) -> int:
    """Return the memory of a job."""
    return MEGABYTES * attempt


def minutes(config: Settings, attempt: int) -> int:
    """Return the run time of a job: for the largest shard of all splits that are split by now."""
    slowest = SLOWEST_GPU if gpus(config) else SLOWEST_CPU
    plans = [read_plan(Layout.of(config).plan(split)) for split in config.xvector.splits]
    seconds = max(
        (
            TOLERANCE * (plan.audio_seconds + FILE_OVERHEAD * plan.n_utterances) / plan.n_shards
            for plan in plans
            if plan is not None
        ),
        default=0.0,
    )
    return attempt * (STARTUP_MINUTES + math.ceil(seconds / slowest / 60))
