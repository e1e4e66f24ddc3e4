import errno
import os
from pathlib import Path

import pytest
import torch

from xvectors.audio import versions
from xvectors.errors import ShardError
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.provenance import Provenance
from xvectors.storage.pt_file import read_provenance, save_embedding
from xvectors.tasks.incremental import IncrementalPipeline, OutputCheck, Target
from xvectors.tasks.pipeline import Pipeline, run_sequential

MADE_BY = {"encoder": "abc"}


class Writing(Pipeline):
    """Leaves a file for each utterance, and notes what was asked of it."""

    def __init__(self, storage: FileStorage) -> None:
        self.storage = storage
        self.asked = []

    def load(self, index):
        self.asked.append(f"load {index}")
        return index

    def compute(self, items):
        self.asked.append(f"compute {len(items)}")
        return items

    def n_bytes(self, item):
        return 1000 + item

    def store(self, item, result):
        self.asked.append(f"store {item}")
        torch.save(torch.ones(3), self.storage.path(f"u{item}"))
        return {"status": "ok"}


class Scene:
    """Three utterances, a storage, and a run that may end."""

    def __init__(self, folder: Path) -> None:
        self.corpus, out = folder / "corpus", folder / "out"
        self.corpus.mkdir()
        out.mkdir()
        for i in range(3):
            self.audio(i).write_bytes(b"audio %d" % i)
        self.storage = FileStorage(out, lambda place, name: place / f"{name}.pt", torch.load)
        self.is_over = False

    def audio(self, index: int) -> Path:
        return self.corpus / f"{index}.wav"

    def target_of(self, index: int) -> Target:
        path = str(self.audio(index))
        return Target(f"u{index}", path, Provenance(MADE_BY, path))

    def check_run(self) -> None:
        if self.is_over:
            raise ShardError("the next run has begun")

    def start(self) -> IncrementalPipeline:
        check = OutputCheck(self.target_of, self.storage, self.check_run)
        return IncrementalPipeline(Writing(self.storage), check)

    def statuses(self) -> list[str]:
        return [outcome["status"] for outcome in run_sequential(self.start(), range(3))]

    def survey(self) -> list[int]:
        outputs = self.start().outputs
        outputs.survey(range(3), 2)
        return sorted(outputs.missing)


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene(tmp_path)


def test_new_outputs_are_stamped_and_then_skipped(scene):
    assert scene.survey() == [0, 1, 2]
    assert scene.statuses() == ["ok"] * 3
    pipeline = scene.start()
    assert [one["status"] for one in run_sequential(pipeline, range(3))] == ["skipped"] * 3
    assert pipeline.pipeline.asked == []
    assert scene.survey() == []


def test_a_stale_output_goes_before_the_runner_is_asked(scene):
    save_embedding(torch.zeros(3), scene.storage.path("u0"), b'{"by": "another"}')
    scene.start().load(0)
    assert not scene.storage.path("u0").exists()


def test_memory_of_what_is_loaded_is_that_of_the_runners_items(scene):
    pipeline = scene.start()
    assert pipeline.n_bytes(pipeline.load(2)) == 1002


def test_nothing_is_touched_once_the_next_run_has_begun(scene):
    pipeline = scene.start()
    item = pipeline.load(0)
    save_embedding(torch.zeros(3), scene.storage.path("u0"), b'{"by": "the next run"}')
    scene.is_over = True
    for stage in (
        lambda: pipeline.load(0),
        lambda: pipeline.compute([item]),
        lambda: pipeline.store(item, 0),
    ):
        with pytest.raises(ShardError, match="the next run"):
            stage()
    assert pipeline.pipeline.asked == ["load 0"]
    assert read_provenance(scene.storage.path("u0")) == b'{"by": "the next run"}'


def test_an_utterance_is_asked_once(scene, monkeypatch):
    scene.statuses()
    save_embedding(torch.zeros(3), scene.storage.path("u1"), b'{"by": "another"}')
    scene.storage.discard("u2")
    asked = []
    find = scene.storage.find
    monkeypatch.setattr(scene.storage, "find", lambda *args: asked.append(args[0]) or find(*args))
    pipeline = scene.start()
    pipeline.outputs.survey(range(3), 1)
    list(run_sequential(pipeline, pipeline.outputs.missing))
    assert asked == ["u0", "u1", "u2"]


def test_a_corpus_that_moves_embeds_nothing_again(scene, tmp_path):
    scene.statuses()
    before = {i: torch.load(scene.storage.path(f"u{i}")) for i in range(3)}
    scene.corpus = scene.corpus.rename(tmp_path / "elsewhere")
    for i in range(3):
        os.utime(scene.audio(i), ns=(i, i))
    assert scene.survey() == []
    for i, vector in before.items():
        path = scene.storage.path(f"u{i}")
        assert f'"wav_path":"{scene.audio(i)}"' in read_provenance(path).decode()
        assert torch.equal(torch.load(path), vector)


def test_the_next_look_at_a_corpus_that_has_moved_reads_no_audio(scene, tmp_path, monkeypatch):
    scene.statuses()
    scene.corpus = scene.corpus.rename(tmp_path / "elsewhere")
    assert scene.survey() == []

    def read(path):
        raise AssertionError(path)

    monkeypatch.setattr("xvectors.tasks.incremental.content_hash", read)
    assert scene.survey() == []


def test_another_file_of_the_same_size_is_noticed(scene):
    scene.statuses()
    scene.audio(1).write_bytes(b"AUDIO 1")
    assert scene.survey() == [1]
    assert scene.statuses() == ["skipped", "ok", "skipped"]


def test_an_embedding_stays_while_its_audio_is_gone(scene):
    scene.statuses()
    content = scene.audio(1).read_bytes()
    scene.audio(1).unlink()
    pipeline = scene.start()
    pipeline.outputs.survey(range(3), 1)
    assert pipeline.outputs.missing == {1: None}
    pipeline.load(1)
    assert scene.storage.path("u1").exists()
    scene.audio(1).write_bytes(content)
    assert scene.survey() == []


def test_an_embedding_without_the_hash_stays_current_where_its_audio_is(scene):
    for i in range(3):
        target = scene.target_of(i)
        made = target.provenance.with_audio(versions.audio_version(target.audio_path))
        save_embedding(torch.zeros(3), scene.storage.path(f"u{i}"), made.encode())
    os.utime(scene.audio(2), ns=(1, 1))
    assert scene.survey() == [2]


def test_a_file_server_that_is_away_ends_the_job_and_blames_nothing(scene, monkeypatch):
    scene.statuses()

    def stat(path):
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(OSError, match="Stale file handle"):
        scene.survey()
    monkeypatch.undo()
    assert scene.survey() == []


def test_an_output_that_cannot_be_read_for_now_is_not_made_again(scene, monkeypatch):
    scene.statuses()

    def read_bytes(self):
        raise OSError(errno.EIO, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(OSError, match="Input/output error"):
        scene.survey()
