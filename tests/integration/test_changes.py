"""Changed settings, manifests, audio and encoders: what the next run does about them."""

import os
import shutil

import pytest
import soundfile
import torch

from tests.support.checkout import changed
from tests.support.random_encoder import write_random_encoder

pytestmark = pytest.mark.integration


def test_what_does_not_change_vectors_embeds_nothing(quick_done):
    quick_done.manifest.touch()
    assert "Nothing to be done" in quick_done.run_well()

    before = quick_done.times()
    lines = quick_done.manifest.read_text().replace("\tboris\n", "\tsomeone else\n")
    quick_done.manifest.write_text("".join(lines.splitlines(keepends=True)[1:]))
    quick_done.xvector.update(batch_size=None, n_shards=3, device="cpu", on_error="skip")
    quick_done.run_well()
    assert quick_done.times() == before
    names = {path.name for path in (quick_done.out / ".shards" / "train").iterdir()}
    assert names == {f"{k}-of-3.{kind}" for k in range(3) for kind in ("json", "done")}
    rows = quick_done.rows("train.tsv")[1:]
    assert [row[0] for row in rows] == sorted(set(before) - {"alba_00"})
    assert rows[0][1] == "someone else"


def test_deleting_all_output_keeps_embeddings(quick_done):
    before = quick_done.times()
    quick_done.run_well("--delete-all-output")
    assert quick_done.times() == before
    assert not list(quick_done.out.glob("*.tsv"))
    assert not list(quick_done.out.rglob("*.done"))
    quick_done.run_well()
    assert quick_done.times() == before
    assert len(quick_done.rows("train.tsv")) == 9


def test_an_added_line_runs_one_shard_and_embeds_one_utterance(quick_done):
    before = quick_done.times()
    quick_done.add_utterance("late", "alba_03")
    quick_done.run_well()
    assert changed(before, quick_done.times()) == {"late"}
    assert quick_done.snakemake_log().count("localrule embed_shard:") == 1
    assert [row[0] for row in quick_done.rows("train.tsv")][-1] == "late"


@pytest.mark.parametrize("change", ["precision", "weights"])
def test_what_changes_all_vectors_embeds_everything(quick_done, change):
    before = quick_done.times()
    if change == "precision":
        quick_done.xvector["precision"] = "tf32"
    else:
        write_random_encoder(quick_done.root / "config" / "demo" / "encoder")
    quick_done.run_well()
    assert changed(before, quick_done.times()) == set(before)


def test_what_is_stale_shows_without_snakemakes_metadata(quick_done):
    def run() -> set[str]:
        before = quick_done.times()
        shutil.rmtree(quick_done.root / ".snakemake")
        quick_done.run_well()
        return changed(before, quick_done.times())

    assert run() == set()

    times = quick_done.manifest.stat()
    quick_done.add_utterance("late", "alba_03")
    os.utime(quick_done.manifest, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run() == {"late"}

    everything = set(quick_done.times())
    quick_done.xvector["precision"] = "tf32"
    assert run() == everything

    write_random_encoder(quick_done.root / "other")
    quick_done.xvector["pretrained_model"] = "other"
    assert run() == everything


def test_a_job_needs_only_the_copy_of_the_encoder(done):
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


def test_no_vector_of_another_encoder_stays_in_the_folder(done):
    before = done.vectors()
    done.xvector["on_error"] = "skip"
    # The new encoder embeds neither of these two.
    done.audio("boris_01").unlink()
    lines = done.manifest.read_text().splitlines(keepends=True)
    done.manifest.write_text("".join(lines[1:]))
    write_random_encoder(done.root / "other")
    done.xvector["pretrained_model"] = "other"
    done.run_well()
    after = done.vectors()
    assert after.keys() == before.keys() - {"alba_00", "boris_01"}
    assert after.keys() == {row[0] for row in done.rows("train.tsv")[1:]}
    assert not any(torch.allclose(before[utt_id], after[utt_id]) for utt_id in after)


def test_replaced_and_moved_recordings_get_new_vectors_and_no_others(done, reference):
    before = done.times()
    shutil.copy(done.audio("hugo_04"), done.audio("boris_01"))
    # Its time goes back, so that to Snakemake nothing is newer.
    shutil.copy(done.audio("alba_00"), done.audio("clara_02"))
    os.utime(done.audio("clara_02"), (1e9, 1e9))
    done.audio("edith_02").rename(done.corpus / "moved.flac")
    done.manifest.write_text(done.manifest.read_text().replace("edith_02.flac", "moved.flac"))
    done.run_well()
    assert changed(before, done.times()) == {"boris_01", "clara_02", "edith_02"}
    seconds = {row[0]: row[3] for row in done.rows("train.tsv")}
    for utt_id in ("boris_01", "clara_02"):
        reference.assert_same(done.vectors()[utt_id], done.audio(utt_id))
        assert seconds[utt_id] == f"{soundfile.info(done.audio(utt_id)).duration:.4f}"
    assert "Nothing to be done" in done.run_well()


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
    # The tag follows from the encoder here: the demo's own settings do not leak in.
    out = checkout.corpus / "x_vectors" / "encoder"
    assert len(list((out / "train").glob("*.pt"))) == 8
    assert (out / ".shards" / "train" / "2-of-3.done").is_file()
    assert not (checkout.root / "results").exists()
