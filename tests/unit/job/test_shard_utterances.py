from pathlib import Path

import pytest
import torch

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.encoders.fetching import fetch_encoder
from xvectors.errors import ShardError
from xvectors.files.run_lock import RUN_VARIABLE, RunWatch
from xvectors.job.shard_utterances import ShardPipeline, ShardUtterances
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.splitting import split_manifest
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.pt_file import read_provenance, save_embedding
from xvectors.tasks.pipeline import Pipeline


class Writing(Pipeline):
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
def pipeline(utterances, storage, tmp_path, monkeypatch) -> ShardPipeline:
    monkeypatch.setenv(RUN_VARIABLE, "this run")
    (tmp_path / ".lock").write_text("this run")
    return ShardPipeline(Writing(tmp_path / "a.pt"), utterances, storage, RunWatch(tmp_path))


def test_what_a_runner_leaves_is_stamped(pipeline, utterances, storage):
    output = storage.path("a")
    save_embedding(torch.zeros(3), output, b'{"by": "another"}')
    item = pipeline.load(0)
    assert not output.exists()
    (result,) = pipeline.compute([item])
    assert pipeline.store(item, result)["status"] == "ok"
    assert read_provenance(output) == utterances[0].provenance


def test_memory_of_what_is_loaded_is_that_of_the_runners_items(pipeline):
    assert pipeline.n_bytes(pipeline.load(0)) == 1000


def test_an_output_that_has_become_current_stays(pipeline, utterances, storage):
    save_embedding(torch.zeros(3), storage.path("a"), utterances[0].provenance)
    pipeline.load(0)
    assert storage.is_current("a", utterances[0].provenance)


def test_nothing_is_touched_once_the_next_run_has_begun(pipeline, storage, tmp_path):
    item = pipeline.load(0)
    save_embedding(torch.zeros(3), storage.path("a"), b'{"by": "the next run"}')
    (tmp_path / ".lock").write_text("the next run")
    for stage in (
        lambda: pipeline.load(0),
        lambda: pipeline.compute([item]),
        lambda: pipeline.store(item, 0),
    ):
        with pytest.raises(ShardError, match="the next run"):
            stage()
    assert pipeline.pipeline.asked == ["load"]
    assert read_provenance(storage.path("a")) == b'{"by": "the next run"}'
