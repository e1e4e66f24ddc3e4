from pathlib import Path

import pytest
import torch

from xvectors import UtteranceError
from xvectors.config import resolve_config
from xvectors.errors import ShardError
from xvectors.fetching import fetch_encoder
from xvectors.job.shard_job import MAX_FAILURES_AT_FIRST, _count, _Work
from xvectors.job.shard_utterances import ShardStages, ShardUtterances
from xvectors.layout import Layout
from xvectors.manifest import read_manifest
from xvectors.provenance import read_provenance, save_embedding
from xvectors.run.run_lock import RUN_VARIABLE, RunWatch
from xvectors.sharding import IndexShard, split_manifest
from xvectors.stages import Stages
from xvectors.storage.storage import FileStorage


class Writing(Stages):
    """Leaves a file for its only utterance, and notes what was asked of it."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.asked = []

    def load(self, index):
        self.asked.append("load")
        return index

    def compute(self, items):
        self.asked.append("compute")
        return items

    def n_bytes(self, item):
        return 1000 + item

    def store(self, item, result):
        self.asked.append("store")
        torch.save(torch.ones(3), self.output)
        return {"status": "ok"}


@pytest.fixture
def utterances(tmp_path) -> ShardUtterances:
    (tmp_path / "a.wav").touch()
    manifest = tmp_path / "train.tsv"
    manifest.write_text("a\ta.wav\ttext\ts1\tseconds=1.0\n")
    keys = {"save_path": str(tmp_path), "spk_embed_tag": "tag", "pretrained_model": None}
    config = resolve_config({"xvector": {**keys, "manifest_paths": {"train": str(manifest)}}})
    layout = Layout.of(config)
    fetch_encoder(None, layout.encoder)
    split_manifest(read_manifest(manifest), "train", 1, layout)
    layout.embeddings("train").mkdir()
    return ShardUtterances(config, "train", "0-of-1")


@pytest.fixture
def storage(tmp_path) -> FileStorage:
    return FileStorage(tmp_path, lambda folder, utt_id: folder / f"{utt_id}.pt", torch.load)


@pytest.fixture
def stages(utterances, storage, tmp_path, monkeypatch) -> ShardStages:
    monkeypatch.setenv(RUN_VARIABLE, "this run")
    (tmp_path / ".lock").write_text("this run")
    return ShardStages(Writing(tmp_path / "a.pt"), utterances, storage, RunWatch(tmp_path))


def test_what_a_runner_leaves_is_stamped(stages, utterances, storage):
    output = storage.path("a")
    save_embedding(torch.zeros(3), output, b'{"by": "another"}')
    item = stages.load(0)
    assert not output.exists()
    (result,) = stages.compute([item])
    assert stages.store(item, result)["status"] == "ok"
    assert read_provenance(output) == utterances[0].made_by


def test_memory_of_what_is_loaded_is_that_of_the_runners_items(stages):
    assert stages.n_bytes(stages.load(0)) == 1000


def test_an_output_that_has_become_current_stays(stages, utterances, storage):
    save_embedding(torch.zeros(3), storage.path("a"), utterances[0].made_by)
    stages.load(0)
    assert storage.is_current("a", utterances[0].made_by)


def test_nothing_is_touched_once_the_next_run_has_begun(stages, storage, tmp_path):
    item = stages.load(0)
    save_embedding(torch.zeros(3), storage.path("a"), b'{"by": "the next run"}')
    (tmp_path / ".lock").write_text("the next run")
    for stage in (
        lambda: stages.load(0),
        lambda: stages.compute([item]),
        lambda: stages.store(item, 0),
    ):
        with pytest.raises(ShardError, match="the next run"):
            stage()
    assert stages.stages.asked == ["load"]
    assert read_provenance(storage.path("a")) == b'{"by": "the next run"}'


def shard_of(n_utterances: int) -> IndexShard:
    columns = [[str(i) for i in range(n_utterances)]] * 2
    rest = [[None] * n_utterances, [1.0] * n_utterances]
    return IndexShard(list(range(n_utterances)), *columns, *rest, audio="")


def test_many_unexpected_failures_without_a_success_are_a_defect():
    work, shard = _Work(), shard_of(2 * MAX_FAILURES_AT_FIRST + 1)
    for i in range(MAX_FAILURES_AT_FIRST):
        _count(shard, 2 * i, ValueError("odd"), work)
        _count(shard, 2 * i + 1, UtteranceError("bad file"), work)
    assert len(work.failures) == 2 * MAX_FAILURES_AT_FIRST
    with pytest.raises(ValueError, match="odd"):
        _count(shard, 2 * MAX_FAILURES_AT_FIRST, ValueError("odd"), work)


def test_many_unexpected_failures_after_an_earlier_success_are_listed():
    work, shard = _Work(n_skipped=1), shard_of(3 * MAX_FAILURES_AT_FIRST)
    for i in range(3 * MAX_FAILURES_AT_FIRST):
        _count(shard, i, ValueError("odd"), work)
    assert len(work.failures) == 3 * MAX_FAILURES_AT_FIRST


def test_many_unexpected_failures_among_successes_are_listed():
    work, shard = _Work(), shard_of(6 * MAX_FAILURES_AT_FIRST)
    for i in range(3 * MAX_FAILURES_AT_FIRST):
        _count(shard, 2 * i, {"utt_id": "a", "status": "ok"}, work)
        _count(shard, 2 * i + 1, ValueError("odd"), work)
    assert work.n_written == len(work.failures) == 3 * MAX_FAILURES_AT_FIRST


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), SystemExit()],
)
def test_what_concerns_the_machine_ends_the_job_at_once(error):
    with pytest.raises(type(error)):
        _count(shard_of(1), 0, error, _Work())
