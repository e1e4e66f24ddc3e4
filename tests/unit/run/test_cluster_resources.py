import pytest

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import dump_checksummed
from xvectors.run import cluster_resources


def make_config(tmp_path, **settings):
    return resolve_config({"xvector": {"save_path": str(tmp_path), **settings}})


def plan(config, split, hours, n_utterances=0):
    path = Layout.of(config).plan(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"n_shards": 4, "n_utterances": n_utterances, "audio_seconds": hours * 3600}
    write_atomically(path, dump_checksummed(content | {"manifest": "m"}))


@pytest.mark.parametrize("device", [None, "cuda", "cuda:1", "cpu"])
def test_a_gpu_unless_the_cpu_is_wanted(tmp_path, device):
    config = make_config(tmp_path, device=device)
    request = {} if device == "cpu" else {"gpu": 1, "gpu_manufacturer": "nvidia"}
    assert cluster_resources.gpu(config) == request
    assert cluster_resources.processors(config) == (4 if request else 1)


def test_time_follows_from_the_hours_of_the_largest_shard_and_grows(tmp_path):
    config = make_config(tmp_path, device="cpu")
    assert cluster_resources.minutes(config, 1) == 20
    plan(config, "train", hours=400)
    plan(config, "valid", hours=4)
    # 100 hours and a tenth more at ten times real time.
    minutes = cluster_resources.minutes(config, 1)
    assert minutes == pytest.approx(20 + 660, abs=1)
    assert cluster_resources.minutes(config, 3) == 3 * minutes
    assert cluster_resources.minutes(make_config(tmp_path), 1) == pytest.approx(20 + 132, abs=1)


def test_short_utterances_take_time_too(tmp_path):
    config = make_config(tmp_path, device="cpu")
    plan(config, "train", hours=0, n_utterances=10**6)
    assert cluster_resources.minutes(config, 1) > 60


def test_memory_grows_with_the_attempt():
    assert [cluster_resources.megabytes(attempt) for attempt in (1, 2, 3)] == [4000, 8000, 12000]
