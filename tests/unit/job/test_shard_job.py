import errno
import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from tests.support.shards import Shards
from xvectors.audio import versions
from xvectors.config.resolving import resolve_config
from xvectors.errors import ShardError, explained, machine_problem
from xvectors.run.stale_records import Records
from xvectors.sharding.markers import read_marker


@pytest.mark.parametrize("storage", ["files", "packed"])
def test_a_corpus_that_moves_embeds_nothing_again(corpus, demo_encoder, monkeypatch, storage):
    shards = Shards(corpus, demo_encoder, storage=storage)
    (first,) = shards.embed_all()
    assert (first["n_written"], first["n_failed"]) == (6, 0)
    moved = corpus.rename(corpus.parent / "moved")
    for number, path in enumerate(moved.glob("*.wav")):
        os.utime(path, ns=(number, number))
    shards.manifest = moved / "train.tsv"
    shards.settings["manifest_paths"] = {"train": str(shards.manifest)}

    def build(provider):
        raise AssertionError("nothing is to be embedded")

    monkeypatch.setattr("xvectors.job.shard_job.build_worker_environment", build)
    (again,) = shards.embed_all()
    assert (again["n_written"], again["n_skipped"]) == (0, 6)
    assert again["outputs"] != first["outputs"]
    work = read_marker(shards.layout.last_work("train", "0-of-1"))
    assert (work.n_written, work.wall_seconds) == (6, first["wall_seconds"])

    monkeypatch.setattr("xvectors.tasks.incremental.content_hash", build)
    (third,) = shards.embed_all()
    assert (third["n_skipped"], third["outputs"]) == (6, again["outputs"])


@pytest.mark.parametrize("storage", ["files", "packed"])
def test_another_recording_of_the_same_size_is_embedded(corpus, demo_encoder, storage):
    shards = Shards(corpus, demo_encoder, storage=storage)
    shards.embed_all()
    path = corpus / "boris_01.wav"
    content = bytearray(path.read_bytes())
    content[2000:3000] = bytes(1000)
    path.write_bytes(content)
    (again,) = shards.embed_all()
    assert (again["n_written"], again["n_skipped"]) == (1, 5)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_a_disk_that_fails_while_jobs_read_blames_no_utterance(
    corpus, demo_encoder, monkeypatch, number
):
    shards = Shards(corpus, demo_encoder, on_error="skip")
    (shard,) = shards.prepare()

    def fail(opened):
        raise OSError(number, os.strerror(number), "a.wav")

    monkeypatch.setattr(versions, "_hash", fail)
    with pytest.raises(OSError, match=r"a\.wav") as error:
        shards.embed(shard)
    assert machine_problem(error.value) == f"a.wav: {os.strerror(number)}"
    assert not shards.layout.marker("train", shard).exists()
    monkeypatch.undo()
    assert shards.embed(shard)["n_written"] == 6


def test_a_file_server_away_at_the_start_is_a_one_line_error(corpus, demo_encoder, monkeypatch):
    shards = Shards(corpus, demo_encoder)
    shards.prepare()
    records = Records(resolve_config({"xvector": shards.settings}))

    def stat(path):
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(versions, "os", SimpleNamespace(**vars(os) | {"stat": stat}))
    with pytest.raises(OSError, match="Stale") as error:
        records.split("train")
    (line,) = str(explained(error.value)).splitlines()
    assert line.startswith(str(corpus))
    assert line.endswith(
        ": Stale file handle. Fix this and rerun the same command. Finished work is kept"
    )


def test_a_failure_is_tried_again_when_its_audio_is_another_than_the_job_saw(corpus, demo_encoder):
    """A mount that was away for the job only, so that the plan knows of no change."""
    shards = Shards(corpus, demo_encoder, on_error="skip", n_shards=1)
    (shard,) = shards.prepare()
    path, away = corpus / "boris_01.wav", corpus / "away"
    path.rename(away)
    marker = shards.embed(shard)
    (failure,) = marker["failures"]
    assert (failure["utt_id"], failure["audio"]) == ("boris_01", None)
    settings = resolve_config({"xvector": shards.settings})
    away.rename(path)
    assert shards.layout.marker("train", shard) in Records(settings).split("train").stale
    assert (shards.embed(shard)["n_written"], len(shards.vectors())) == (1, 6)

    path.write_bytes(b"rubbish")
    shards.embed_all()
    (failure,) = json.loads(shards.layout.marker("train", shard).read_bytes())["failures"]
    assert failure["audio"] == [7, path.stat().st_mtime_ns]
    assert not Records(settings).split("train").stale
    os.utime(path, ns=(1, 1))
    assert shards.layout.marker("train", shard) in Records(settings).split("train").stale


def test_the_encoder_is_hashed_once_per_job(corpus, demo_encoder, monkeypatch):
    shards = Shards(corpus, demo_encoder)
    (shard,) = shards.prepare()
    hashed = []
    for module in ("xvectors.job.shard_job", "xvectors.tasks.xvectors"):
        monkeypatch.setattr(
            f"{module}.fingerprint_of",
            lambda folder: hashed.append(folder) or shards.layout.fingerprint,
        )
    fingerprint = json.loads(shards.layout.encoder_description.read_bytes())["fingerprint"]
    monkeypatch.setattr(type(shards.layout), "fingerprint", fingerprint, raising=False)
    shards.embed(shard)
    assert len(hashed) == 1


def test_a_failed_shard_names_its_utterances_and_says_what_to_do(corpus, demo_encoder):
    shards = Shards(corpus, demo_encoder)
    (corpus / "boris_01.wav").write_bytes(b"rubbish")
    with pytest.raises(ShardError) as error:
        shards.embed_all()
    assert str(error.value) == (
        "train 0-of-1: 1 of 6 utterances failed (boris_01). All others are embedded. Fix these "
        "and rerun the same command, or set xvector.on_error to skip"
    )
    assert len(shards.vectors()) == 5


def test_a_copy_of_a_recording_under_another_name_is_the_same_audio(corpus, demo_encoder):
    shards = Shards(corpus, demo_encoder)
    shards.embed_all()
    before = shards.vectors()
    shutil.copy(corpus / "boris_01.wav", corpus / "copy.wav")
    text = shards.manifest.read_text()
    assert "boris_01.wav" in text
    shards.manifest.write_text(text.replace("boris_01.wav", "copy.wav"))
    (again,) = shards.embed_all()
    assert (again["n_written"], again["n_skipped"]) == (0, 6)
    assert torch.equal(shards.vectors()["boris_01"], before["boris_01"])
