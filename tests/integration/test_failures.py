"""Bad recordings, lost and damaged files, concurrent runs; tests/faults has kills and more."""

import json
import os
import shutil
import time

import pytest

from tests.support.checkout import changed

pytestmark = pytest.mark.integration


def test_a_broken_recording_costs_only_itself(checkout):
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    result = checkout.run()
    assert result.returncode != 0
    assert "train: clara_02: not audio" in result.stdout
    assert "train: 7 embedded, 0 skipped, 1 failed" in result.stdout
    assert "1 of 2 shards not done" in result.stdout
    assert "Traceback" not in result.stdout
    before = checkout.times()
    assert len(before) == 7
    assert "clara_02" not in before
    done = list((checkout.out / ".shards" / "train").glob("*.done"))
    assert len(done) == 1
    again = checkout.run()
    assert again.returncode != 0
    assert checkout.times() == before

    checkout.audio("clara_02").write_bytes(good)
    printed = checkout.run_well()
    assert changed(before, checkout.times()) == {"clara_02"}
    assert "train: 1 embedded, 7 skipped, 0 failed" in printed
    seconds = {row[0]: row[3] for row in checkout.rows("train.tsv")}
    assert float(seconds["clara_02"]) > 1
    assert "Nothing to be done" in checkout.run_well()


def test_a_shard_full_of_bad_recordings(checkout):
    checkout.xvector["n_shards"] = 1
    for path in checkout.corpus.glob("*.*"):
        if path != checkout.manifest:
            path.write_bytes(b"")
    result = checkout.run()
    assert result.returncode != 0
    assert "8 of 8 utterances failed" in result.stdout
    assert checkout.times() == {}


def test_skipped_recordings_are_listed_and_tried_again_when_mended(checkout):
    checkout.xvector["on_error"] = "skip"
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    checkout.audio("hugo_04").unlink()
    checkout.run_well()
    failed = checkout.rows("train.failed.tsv")
    assert failed[0] == ["utt_id", "wav_path", "reason"]
    assert {(row[0], row[1]) for row in failed[1:]} == {
        ("clara_02", "clara_02.flac"),
        ("hugo_04", "hugo_04.wav"),
    }
    assert len(checkout.rows("train.tsv")) == 7
    markers = [
        json.loads(path.read_text()) for path in (checkout.out / ".shards" / "train").glob("*.done")
    ]
    assert sum(marker["n_failed"] for marker in markers) == 2
    assert "Nothing to be done" in checkout.run_well()

    (checkout.corpus / "clara_02.flac").write_bytes(good)
    before = checkout.times()
    printed = checkout.run_well()
    assert changed(before, checkout.times()) == {"clara_02"}
    # Whether its shard ran again or not.
    assert "train: 1 embedded, 6 skipped, 1 failed" in printed
    assert "train: hugo_04: file missing" in printed
    assert [row[0] for row in checkout.rows("train.failed.tsv")] == ["utt_id", "hugo_04"]

    checkout.xvector["on_error"] = "fail"
    result = checkout.run()
    assert result.returncode != 0
    assert "train: hugo_04: file missing" in result.stdout


def test_a_recording_that_goes_bad_loses_its_vector(done):
    done.audio("clara_02").write_bytes(b"rubbish")
    assert done.run().returncode != 0
    assert "clara_02" not in done.times()
    assert not (done.out / "train.tsv").exists()
    done.xvector["on_error"] = "skip"
    done.run_well()
    assert len(done.rows("train.tsv")) == 8


def test_vectors_outlive_a_corpus_that_is_gone_for_a_while(done):
    before = done.times()
    away = done.root / "away"
    away.mkdir()
    for path in list(done.corpus.glob("*_*")):
        shutil.move(path, away)
    result = done.run()
    assert result.returncode != 0
    assert "file missing" in result.stdout
    for path in list(away.iterdir()):
        shutil.move(path, done.corpus)
    done.run_well()
    assert done.times() == before


@pytest.mark.parametrize("damage", ["lost", "cut", "empty"])
def test_a_lost_or_damaged_vector_is_made_anew(done, damage):
    before = done.times()
    path = done.embeddings / "alba_00.pt"
    content = path.read_bytes()
    path.unlink()
    if damage != "lost":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    done.run_well()
    assert changed(before, done.times()) == {"alba_00"}
    assert len(done.vectors()) == 8
    assert "Nothing to be done" in done.run_well()


@pytest.mark.parametrize(
    ("name", "content"),
    [("train/0-of-2.done", "{"), ("train/0-of-2.json", "[]"), ("train.json", "")],
)
def test_damaged_bookkeeping_is_made_anew_and_embeds_nothing(done, name, content):
    before = done.times()
    path = done.out / ".shards" / name
    whole = json.loads(path.read_text())
    path.write_text(content)
    done.run_well()
    assert done.times() == before
    assert json.loads(path.read_text()).keys() == whole.keys()


def test_a_damaged_copy_of_the_encoder_is_fetched_anew(done):
    before = done.times()
    copy = done.out / ".encoder" / "embedding_model.ckpt"
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    done.add_utterance("late", "alba_03")
    done.run_well()
    assert copy.read_bytes() != content
    assert changed(before, done.times()) == {"late"}


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(checkout):
    first = checkout.start()
    while not (checkout.out / ".lock").exists():
        time.sleep(0.05)
        assert first.poll() is None, first.communicate()[0]
    while not (checkout.out / ".lock").read_text():
        time.sleep(0.05)
    second = checkout.run()
    dry = checkout.run("-n", "--config", "xvector={precision: bf16}")
    assert dry.returncode == 0, dry.stdout
    printed, _ = first.communicate()
    assert first.returncode == 0, printed
    assert second.returncode != 0
    assert "another run (process" in second.stdout
    assert len(checkout.vectors()) == 8


BAD_CONFIGS = [
    ({"batchsize": 3}, "my.yaml: xvector.batchsize: unknown key, did you mean batch_size?"),
    ({"batch_size": "many"}, "my.yaml: xvector.batch_size: must be integer or null, not 'many'"),
    (
        {"splits": ["dev"]},
        "my.yaml: xvector.manifest_paths.dev: no such manifest: data/manifest/dev.tsv",
    ),
    ({"manifest_paths": {"train": "x.tsv"}}, "xvector.manifest_paths.train: no such manifest"),
    (
        {"pretrained_model": "/none"},
        "my.yaml: xvector.pretrained_model: no such folder or file: /none",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BAD_CONFIGS)
def test_a_bad_configuration_is_one_line_and_writes_nothing(checkout, settings, message):
    checkout.xvector.update(settings)
    (error,) = checkout.run_badly()
    assert message in error
    assert not (checkout.root / "out").exists()


def test_a_bad_manifest_is_one_line_for_each_bad_line_and_embeds_nothing(checkout):
    (checkout.corpus / "valid.tsv").write_text("only\ttwo\n")
    (checkout.corpus / "test.tsv").write_bytes(checkout.manifest.read_bytes())
    checkout.xvector["splits"] = ["test", "train", "valid"]
    for split in ("valid", "test"):
        checkout.xvector["manifest_paths"][split] = f"corpus/{split}.tsv"
    with checkout.manifest.open("ab") as file:
        file.write(b"a/b\tx.wav\tt\ts\nshort\tx.wav\nalba_00\tx.wav\tt\ts\nu\tx.wav\t\xff\ts\n")
    errors = checkout.run_badly()
    places = [f"corpus/train.tsv:{number}" for number in (9, 10, 11, 12)]
    assert [line.split(": ")[1] for line in errors] == [*places, "corpus/valid.tsv:1"]
    assert not (checkout.root / "out").exists()


def test_an_encoder_that_cannot_be_fetched_is_one_line(checkout):
    checkout.xvector["pretrained_model"] = "nobody/nothing"
    (error,) = checkout.run_badly()
    assert "cannot fetch 'nobody/nothing' from the Hugging Face hub" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the network away")
def test_a_local_encoder_needs_no_network_at_all(checkout):
    result = checkout.run_plain("unshare", "--net", *checkout.command())
    assert result.returncode == 0, result.stdout
    assert len(checkout.vectors()) == 8
