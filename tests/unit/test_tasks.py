from pathlib import Path

import pytest
import torch

from xvectors import UtteranceError
from xvectors.errors import ShardError
from xvectors.provenance import read_provenance, save_embedding
from xvectors.run_lock import RUN_VARIABLE
from xvectors.shard_job import MAX_FAILURES_AT_FIRST, _count, _Work
from xvectors.stages import Stages
from xvectors.tasks import Task, TaskStages


class Writing(Stages):
    """Leaves a file for its only task, and notes what was asked of it."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.asked = []

    def load(self, index):
        self.asked.append("load")
        return index

    def compute(self, items):
        self.asked.append("compute")
        return items

    def store(self, item, result):
        self.asked.append("store")
        torch.save(torch.ones(3), self.output)
        return {"status": "ok"}


class Runner:
    """What a job needs of a runner here."""

    def __init__(self, root: Path) -> None:
        self.provider = self
        self.config = root

    @staticmethod
    def check_output(path):
        return torch.load(path)


@pytest.fixture
def task(tmp_path) -> Task:
    audio = tmp_path / "a.wav"
    audio.touch()
    return Task(0, "a", "a.wav", str(audio), 1.0, tmp_path / "a.pt", b'{"by": "me"}')


@pytest.fixture
def stages(task, tmp_path, monkeypatch) -> TaskStages:
    monkeypatch.setattr("xvectors.tasks.Layout.of", lambda root: type("L", (), {"root": root}))
    monkeypatch.setenv(RUN_VARIABLE, "this run")
    (tmp_path / ".lock").write_text("this run")
    return TaskStages(Runner(tmp_path), Writing(task.output), [task])


def test_what_a_runner_leaves_is_stamped(stages, task):
    save_embedding(torch.zeros(3), task.output, b'{"by": "another"}')
    item = stages.load(0)
    assert not task.output.exists()
    (result,) = stages.compute([item])
    assert stages.store(item, result)["status"] == "ok"
    assert read_provenance(task.output) == task.made_by


def test_an_output_that_has_become_current_stays(stages, task):
    save_embedding(torch.zeros(3), task.output, task.made_by)
    stages.load(0)
    assert task.is_current


def test_nothing_is_touched_once_the_next_run_has_begun(stages, task, tmp_path):
    item = stages.load(0)
    save_embedding(torch.zeros(3), task.output, b'{"by": "the next run"}')
    (tmp_path / ".lock").write_text("the next run")
    for stage in (
        lambda: stages.load(0),
        lambda: stages.compute([item]),
        lambda: stages.store(item, 0),
    ):
        with pytest.raises(ShardError, match="the next run"):
            stage()
    assert stages.stages.asked == ["load"]
    assert read_provenance(task.output) == b'{"by": "the next run"}'


def test_many_unexpected_failures_without_a_success_are_a_defect(task):
    work = _Work()
    for _ in range(MAX_FAILURES_AT_FIRST):
        _count(task, ValueError("odd"), work)
        _count(task, UtteranceError("bad file"), work)
    assert len(work.failures) == 2 * MAX_FAILURES_AT_FIRST
    with pytest.raises(ValueError, match="odd"):
        _count(task, ValueError("odd"), work)


def test_many_unexpected_failures_among_successes_are_listed(task):
    work = _Work()
    for _ in range(3 * MAX_FAILURES_AT_FIRST):
        _count(task, {"utt_id": "a", "status": "ok"}, work)
        _count(task, ValueError("odd"), work)
    assert work.n_written == len(work.failures) == 3 * MAX_FAILURES_AT_FIRST


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), SystemExit()],
)
def test_what_concerns_the_machine_ends_the_job_at_once(task, error):
    with pytest.raises(type(error)):
        _count(task, error, _Work())
