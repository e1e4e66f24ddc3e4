"""Bad recordings, lost and damaged files, concurrent runs; tests/faults has kills and more."""

import json
import os
import select
import shutil

import pytest

from tests.support.checkout import QUICK_TASK, changed, kill_group

pytestmark = pytest.mark.integration


def test_a_broken_recording_costs_only_itself(checkout):
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    result = checkout.run()
    assert result.returncode != 0
    assert "train: clara_02: not audio" in result.stdout
    assert "train: 7 embedded, 0 already embedded, 1 failed" in result.stdout
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
    assert "train: 1 embedded, 7 already embedded, 0 failed" in printed
    seconds = {row[0]: row[3] for row in checkout.rows("train.tsv")}
    assert float(seconds["clara_02"]) > 1
    assert "Nothing to be done" in checkout.run_well()


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


def test_a_bad_manifest_has_a_one_line_error_for_each_bad_line_and_embeds_nothing(checkout):
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


def test_an_encoder_that_cannot_be_fetched_is_a_one_line_error(checkout):
    checkout.xvector["pretrained_model"] = "nobody/nothing"
    result = checkout.run()
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert len(set(errors)) == 1
    assert "cannot fetch 'nobody/nothing' from the Hugging Face hub" in errors[0]
    # Once where it happened, and once more after the summary; no log that does not exist is named.
    _, summary = result.stdout.split("train: 0 embedded", 1)
    assert errors[0] in summary
    assert "embed_shard" not in summary


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the network away")
def test_a_local_encoder_needs_no_network_at_all(checkout):
    result = checkout.run_plain("unshare", "--net", *checkout.command())
    assert result.returncode == 0, result.stdout
    assert len(checkout.vectors()) == 8


def test_skipped_recordings_are_listed_and_tried_again_when_mended(quick):
    quick.xvector["on_error"] = "skip"
    good = quick.audio("clara_02").read_bytes()
    quick.audio("clara_02").write_bytes(b"rubbish")
    quick.audio("hugo_04").unlink()
    quick.run_well()
    failed = quick.rows("train.failed.tsv")
    assert failed[0] == ["utt_id", "wav_path", "reason"]
    assert {(row[0], row[1]) for row in failed[1:]} == {
        ("clara_02", "clara_02.flac"),
        ("hugo_04", "hugo_04.wav"),
    }
    assert len(quick.rows("train.tsv")) == 7
    assert "Nothing to be done" in quick.run_well()

    (quick.corpus / "clara_02.flac").write_bytes(good)
    before = quick.times()
    printed = quick.run_well()
    assert changed(before, quick.times()) == {"clara_02"}
    # Whether its shard ran again or not.
    assert "train: 1 embedded, 6 already embedded, 1 failed" in printed
    assert "train: hugo_04: cannot be read" in printed
    assert [row[0] for row in quick.rows("train.failed.tsv")] == ["utt_id", "hugo_04"]

    quick.xvector["on_error"] = "fail"
    result = quick.run()
    assert result.returncode != 0
    assert "train: hugo_04: cannot be read" in result.stdout
    assert not (quick.out / "train.tsv").exists()


def test_vectors_outlive_a_corpus_that_is_gone_for_a_while(quick_done):
    before = quick_done.times()
    away = quick_done.root / "away"
    away.mkdir()
    for path in list(quick_done.corpus.glob("*_*")):
        shutil.move(path, away)
    result = quick_done.run()
    assert result.returncode != 0
    assert "cannot be read" in result.stdout
    for path in list(away.iterdir()):
        shutil.move(path, quick_done.corpus)
    quick_done.run_well()
    assert quick_done.times() == before


def test_lost_and_damaged_vectors_are_made_anew(quick_done):
    before = quick_done.times()
    lost, cut, empty = (quick_done.embeddings / f"{utt_id}.pt" for utt_id in list(before)[:3])
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    empty.write_bytes(b"")
    quick_done.run_well()
    assert changed(before, quick_done.times()) == {lost.stem, cut.stem, empty.stem}
    assert len(quick_done.vectors()) == 8
    assert "Nothing to be done" in quick_done.run_well()


def test_damaged_bookkeeping_is_made_anew_and_embeds_nothing(quick_done):
    before = quick_done.times()
    bookkeeping = quick_done.out / ".shards"
    for damage in (
        {"train/0-of-2.done": "{", "train/1-of-2.json": "[]"},
        {"train.json": "", "train.collected": "{}"},
    ):
        whole = {name: json.loads((bookkeeping / name).read_text()) for name in damage}
        for name, content in damage.items():
            (bookkeeping / name).write_text(content)
        quick_done.run_well()
        assert quick_done.times() == before
        for name in damage:
            assert json.loads((bookkeeping / name).read_text()).keys() == whole[name].keys()


# A job says that it is there, and goes on when it is told to, through two named pipes.
HELD_TASK = QUICK_TASK.replace(
    "        positions =",
    """        Path("there").write_text("x")
        with Path("go_on").open() as pipe:
            pipe.read(1)
        positions =""",
)


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(checkout):
    checkout.use_task(HELD_TASK, batch_size=8, n_shards=1)
    pipes = []
    for name in ("there", "go_on"):
        os.mkfifo(checkout.root / name)
        # Both ends are open, so that nobody waits for the other to open a pipe.
        pipes.append(os.open(checkout.root / name, os.O_RDWR))
    there, go_on = pipes
    first = checkout.start()
    try:
        assert select.select([there], [], [], 300)[0], "no job has begun"
        second = checkout.run()
        dry = checkout.run("-n", "--config", "xvector={precision: bf16}")
        assert first.poll() is None
        os.write(go_on, b"x")
        printed, _ = first.communicate()
    finally:
        if first.poll() is None:
            kill_group(first)
        for pipe in pipes:
            os.close(pipe)
    assert first.returncode == 0, printed
    assert second.returncode != 0
    assert "another run (process" in second.stdout
    assert dry.returncode == 0, dry.stdout
    assert len(checkout.vectors()) == 8


def test_bad_configurations_are_one_line_for_each_mistake_and_write_nothing(checkout):
    good = dict(checkout.xvector)
    checkout.xvector.update(batchsize=3, batch_size="many")
    wrong, unknown = sorted(checkout.run_badly())
    assert wrong.endswith(
        "my.yaml: xvector.batch_size: must be an integer from 1 on, or null, not 'many'"
    )
    assert unknown.endswith("my.yaml: xvector.batchsize: unknown key, did you mean batch_size?")
    checkout.xvector = good | {"splits": ["dev"], "pretrained_model": "/none"}
    errors = "\n".join(checkout.run_badly())
    assert "my.yaml: xvector.manifest_paths.dev: no such manifest: data/manifest/dev" in errors
    assert "my.yaml: xvector.pretrained_model: no such folder or file: /none" in errors
    assert not (checkout.root / "out").exists()
