"""The number of a split's shards, where the configuration leaves it open."""

import math

SECONDS_PER_HOUR = 3600
# A split of no more audio is one shard: starting a second job would take longer than it saves.
SMALLEST_SHARD = SECONDS_PER_HOUR / 6
# No shard gets more than this on average. It takes some twenty minutes on a CPU core, so that a
# failed job loses little.
LARGEST_SHARD = 8 * SECONDS_PER_HOUR


def automatic_shards(audio_seconds: float) -> int:
    """Return the number of shards for a split with so many seconds of audio.

    The number and the size of the shards grow together, each with the square root of the audio:
    one shard up to 10 minutes, 3 of 20 minutes for an hour, 8 of 75 minutes for 10 hours, 25 of
    4 hours for 100 hours. So a small corpus starts few processes and a large one still spreads
    over many. From 384 hours on, every 8 hours of audio are a shard.

    Only the audio decides, so the number is the same on every machine.
    """
    size = math.sqrt(SMALLEST_SHARD * audio_seconds)
    return max(1, math.ceil(audio_seconds / min(max(size, SMALLEST_SHARD), LARGEST_SHARD)))
