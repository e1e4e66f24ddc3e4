import pytest

from xvectors.sharding.shard_count import automatic_shards


@pytest.mark.parametrize(
    ("hours", "n_shards"),
    [
        (0, 1),
        (1 / 6, 1),
        (0.2, 2),
        (1, 3),
        (10, 8),
        (100, 25),
        (384, 48),
        (800, 100),
        (80_000, 10_000),
    ],
)
def test_the_number_grows_with_the_hours_of_audio(hours, n_shards):
    assert automatic_shards(hours * 3600) == n_shards


def test_more_audio_never_has_fewer_shards():
    numbers = [automatic_shards(60 * minutes) for minutes in range(60_000)]
    assert numbers == sorted(numbers)
