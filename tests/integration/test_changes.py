"""What a change of settings, manifests, audio or encoder makes the next run do."""

import json
import os
import shutil

import pytest
import soundfile
import torch

from tests.support.checkout import changed
from tests.support.random_encoder import write_random_encoder

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("batch_size", "n_shards"), [(None, 5), (7, 1)])
def test_batches_and_shards_do_not_change_vectors(checkout, reference, batch_size, n_shards):
    checkout.xvector.update(batch_size=batch_size, n_shards=n_shards)
    checkout.run_well()
    vectors = checkout.vectors()
    assert len(vectors) == 8
    for utt_id, vector in vectors.items():
        reference.assert_same(vector, checkout.audio(utt_id))


def test_empty_shards_are_done_without_loading_an_encoder(done):
    before = done.times()
    done.manifest.write_text("".join(done.manifest.read_text().splitlines(keepends=True)[:2]))
    done.xvector["n_shards"] = 3
    done.run_well()
    assert done.times() == before
    markers = [
        json.loads(path.read_text())
        for path in sorted((done.out / ".shards" / "train").glob("*.done"))
    ]
    assert sorted(marker["n_utterances"] for marker in markers) == [0, 1, 1]
    assert [marker["startup_seconds"] for marker in markers] == [0, 0, 0]
    assert len(done.rows("train.tsv")) == 3


def test_settings_that_do_not_change_vectors_embed_nothing(done):
    before = done.times()
    done.xvector.update(batch_size=None, n_shards=3, device="cpu", on_error="skip")
    done.run_well()
    assert done.times() == before
    names = {path.name for path in (done.out / ".shards" / "train").iterdir()}
    assert names == {f"{k}-of-3.{kind}" for k in range(3) for kind in ("json", "done")}


def test_another_precision_embeds_everything(done):
    before = done.times()
    done.xvector["precision"] = "tf32"
    done.run_well()
    assert changed(before, done.times()) == set(before)


def test_a_job_does_without_the_encoder_that_was_copied(done):
    encoder = done.root / "scratch"
    shutil.copytree(done.root / "config" / "demo" / "encoder", encoder)
    done.xvector["pretrained_model"] = str(encoder)
    done.run_well("--until", "split_manifest", "fetch_encoder")
    shutil.rmtree(encoder)
    (done.embeddings / "alba_00.pt").unlink()
    # As Snakemake starts jobs elsewhere.
    job = "embed_shard:split=train,shard=0-of-2"
    done.run_well("--target-jobs", job, "--allowed-rules", "embed_shard", "--mode", "subprocess")
    result = done.run()
    assert result.returncode != 0
    assert f"{encoder} (give one that is there" in result.stdout


def test_another_encoder_under_the_same_tag_makes_every_vector_new(done):
    before = done.vectors()
    write_random_encoder(done.root / "other")
    done.xvector["pretrained_model"] = "other"
    done.run_well()
    after = done.vectors()
    assert before.keys() == after.keys()
    assert not any(torch.allclose(before[utt_id], after[utt_id]) for utt_id in before)


def test_new_weights_in_the_encoders_folder_make_every_vector_new(done):
    shutil.copytree(done.root / "config" / "demo" / "encoder", done.root / "mine")
    done.xvector["pretrained_model"] = "mine"
    done.run_well()
    before = done.times()
    write_random_encoder(done.root / "mine")
    done.run_well()
    assert changed(before, done.times()) == set(before)


@pytest.mark.parametrize("new_time", ["now", "past"])
def test_one_replaced_recording_makes_one_vector_new(done, reference, new_time):
    before = done.times()
    path = done.audio("boris_01")
    shutil.copy(done.audio("hugo_04"), path)
    if new_time == "past":
        os.utime(path, (1e9, 1e9))
    done.run_well()
    assert changed(before, done.times()) == {"boris_01"}
    reference.assert_same(done.vectors()["boris_01"], path)
    seconds = {row[0]: row[3] for row in done.rows("train.tsv")}
    assert seconds["boris_01"] == f"{soundfile.info(path).duration:.4f}"
    assert "Nothing to be done" in done.run_well()


def test_another_path_for_an_utterance_makes_its_vector_new(done):
    before = done.times()
    done.audio("boris_01").rename(done.corpus / "moved.wav")
    done.manifest.write_text(done.manifest.read_text().replace("boris_01.wav", "moved.wav"))
    done.run_well()
    assert changed(before, done.times()) == {"boris_01"}


def test_an_added_line_runs_one_shard_and_embeds_one_utterance(done):
    before = done.times()
    done.add_utterance("late", "alba_03")
    printed = done.run_well()
    assert changed(before, done.times()) == {"late"}
    assert printed.count("localrule embed_shard:") == 1
    assert [row[0] for row in done.rows("train.tsv")][-1] == "late"


def test_a_removed_line_leaves_the_tables(done):
    lines = done.manifest.read_text().splitlines(keepends=True)
    done.manifest.write_text("".join(lines[1:]))
    before = done.times()
    done.run_well()
    assert done.times() == before
    assert len(done.rows("train.tsv")) == len(lines)


def test_a_changed_speaker_reaches_the_table(done):
    done.manifest.write_text(done.manifest.read_text().replace("\tboris\n", "\tsomeone else\n"))
    before = done.times()
    done.run_well()
    assert done.times() == before
    assert done.rows("train.tsv")[2][1] == "someone else"


@pytest.mark.parametrize("change", ["precision", "encoder", "manifest", "nothing"])
def test_what_is_stale_shows_without_snakemakes_metadata(done, change):
    before = done.times()
    shutil.rmtree(done.root / ".snakemake")
    if change == "precision":
        done.xvector["precision"] = "tf32"
    elif change == "encoder":
        write_random_encoder(done.root / "other")
        done.xvector["pretrained_model"] = "other"
    elif change == "manifest":
        times = done.manifest.stat()
        done.add_utterance("late", "alba_03")
        os.utime(done.manifest, ns=(times.st_atime_ns, times.st_mtime_ns))
    done.run_well()
    expected = {"manifest": {"late"}, "nothing": set()}.get(change, set(before))
    assert changed(before, done.times()) == expected


def test_no_vector_of_another_encoder_stays_in_the_folder(done):
    done.xvector["on_error"] = "skip"
    done.audio("boris_01").unlink()
    lines = done.manifest.read_text().splitlines(keepends=True)
    done.manifest.write_text("".join(lines[1:]))
    write_random_encoder(done.root / "other")
    done.xvector["pretrained_model"] = "other"
    done.run_well()
    assert set(done.times()) == {row[0] for row in done.rows("train.tsv")[1:]}
    assert not {"alba_00", "boris_01"} & set(done.times())


def test_a_touched_manifest_has_nothing_to_do(done):
    done.manifest.touch()
    assert "Nothing to be done" in done.run_well()


def test_demo_settings_do_not_leak_into_a_users_run(checkout):
    del checkout.xvector["spk_embed_tag"]
    checkout.run_well()
    assert (checkout.root / "out" / "encoder" / "train.tsv").is_file()
    assert not (checkout.root / "results").exists()


def test_an_espnet3_configuration_with_a_demo_encoder(checkout):
    path = checkout.root / "training_config.yaml"
    path.write_text(
        "recipe_dir: .\n"
        "data_dir: ${recipe_dir}/corpus\n"
        "exp_tag: ${self_name:}\n"
        "xvector:\n"
        "  toolkit: speechbrain\n"
        "  pretrained_model: ${recipe_dir}/config/demo/encoder\n"
        "  device: cpu\n"
        "  spk_embed_tag: spkrec\n"
        "  save_path: ${data_dir}/x_vectors\n"
        "  batch_size: 20\n"
        "  async_mode: true\n"
        "  manifest_paths:\n"
        "    train: ${data_dir}/train.tsv\n"
        "  splits: [train]\n"
        "parallel:\n"
        "  env: local\n"
        "  n_workers: 3\n"
        "model: ${unknown:1}\n"
    )
    snakemake = ("snakemake", "--cores", "2", "--configfile", "training_config.yaml")
    result = checkout.run_plain(*snakemake)
    assert result.returncode == 0, result.stdout
    out = checkout.corpus / "x_vectors" / "spkrec"
    assert len(list((out / "train").glob("*.pt"))) == 8
    assert (out / ".shards" / "train" / "2-of-3.done").is_file()
