import sys
import threading

import pytest

from tests.support.shards import Shards
from xvectors.errors import ConfigError, XVectorsError
from xvectors.files.run_lock import RUN_VARIABLE, RunLock
from xvectors.run.startup import place_paths, start, start_job


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    """Belong to no run, and to none that a test begins after it."""
    monkeypatch.setenv(RUN_VARIABLE, "")


@pytest.fixture
def shards(corpus, demo_encoder) -> Shards:
    return Shards(corpus, demo_encoder)


def as_it_is(path: str) -> str:
    return path


def test_looking_writes_nothing_and_beginning_takes_the_lock(shards):
    run = start({"xvector": shards.settings}, "my.yaml", as_it_is)
    run.check()
    assert not run.layout.root.exists()
    run.begin()
    with pytest.raises(XVectorsError, match="another run"):
        RunLock(run.layout.root).hold()
    run.end()


def test_the_end_of_a_run_cancels_the_timers_of_its_process(shards):
    run = start({"xvector": shards.settings}, "my.yaml", as_it_is)
    run.begin()
    timer = threading.Timer(3600, print)
    timer.start()
    run.end()
    timer.join()


def test_a_run_has_its_tables_when_every_split_has_one(shards):
    run = start({"xvector": shards.settings}, "my.yaml", as_it_is)
    assert not run.has_tables()
    for split in run.settings.xvector.splits:
        run.layout.table(split).parent.mkdir(parents=True, exist_ok=True)
        run.layout.table(split).touch()
    assert run.has_tables()


def test_a_wrong_configuration_is_told_at_the_start_and_what_is_missing_at_the_check(shards):
    with pytest.raises(ConfigError, match=r"my\.yaml: xvector\.batch_size"):
        start({"xvector": shards.settings | {"batch_size": 0}}, "my.yaml", as_it_is)
    shards.manifest.unlink()
    run = start({"xvector": shards.settings}, "my.yaml", as_it_is)
    with pytest.raises(XVectorsError, match="no such manifest"):
        run.check()
    run = start({"xvector": shards.settings}, "my.yaml", as_it_is, "s3")
    with pytest.raises(ConfigError, match="--default-storage-provider s3: leave it out"):
        run.check()


@pytest.mark.parametrize("begin", [start, start_job])
def test_a_locale_that_is_not_utf8_is_told_at_the_start(shards, monkeypatch, begin):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(ConfigError, match="this locale's encoding is iso8859-1"):
        begin({"xvector": shards.settings}, "my.yaml", as_it_is)


def test_paths_of_a_module(shards, tmp_path):
    inside = tmp_path / "module"
    inside.mkdir()
    (inside / "there.tsv").touch()
    shards.settings |= {"save_path": "out", "splits": ["train", "valid"]}
    shards.settings["manifest_paths"] = {"train": "there.tsv", "valid": "elsewhere.tsv"}
    job = start_job({"xvector": shards.settings}, "my.yaml", lambda path: f"{inside}/{path}")
    assert job.xvector.save_path == f"{inside}/out"
    assert job.xvector.manifest_paths["train"] == f"{inside}/there.tsv"
    # It is only read, and lies where the configuration says.
    assert job.xvector.manifest_paths["valid"] == "elsewhere.tsv"
    assert place_paths(job, as_it_is) == job
