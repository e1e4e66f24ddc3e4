import json

import pytest
import torch

pytestmark = pytest.mark.integration


def test_the_demo_runs_at_once_and_has_nothing_to_do_afterwards(checkout, reference):
    command = ("snakemake", "--cores", "4")
    first = checkout.run_plain(*command)
    assert first.returncode == 0, first.stdout
    assert (
        "train: 40 embedded, 0 already embedded, 0 failed, 0.030 hours of audio embedded"
        in first.stdout
    )
    out = checkout.root / "results" / "x_vectors" / "demo"
    for split, n_utterances in (("train", 40), ("valid", 8), ("test", 16)):
        manifest = checkout.root / "config" / "demo" / "manifest" / f"{split}.tsv"
        lines = [line.split("\t") for line in manifest.read_text().splitlines()]
        assert len(lines) == n_utterances
        for utt_id, wav_path, *_ in lines:
            embedding = torch.load(out / split / f"{utt_id}.pt", weights_only=True)
            reference.assert_same(embedding, manifest.parent / wav_path)
        rows = [line.split("\t") for line in (out / f"{split}.tsv").read_text().splitlines()]
        assert rows[0] == ["utt_id", "speaker_id", "path", "seconds"]
        assert [row[0] for row in rows[1:]] == [line[0] for line in lines]
        assert [row[1] for row in rows[1:]] == [line[3] for line in lines]
        assert torch.load(out / rows[1][2], weights_only=True).shape == (192,)
        assert all(1 < float(row[3]) < 5 for row in rows[1:])
        assert (out / f"{split}.failed.tsv").read_text() == "utt_id\twav_path\treason\n"
        assert (out / f"{split}.report.html").stat().st_size > 100_000
    labels = [line.split("\t") for line in (out / "train.labels.tsv").read_text().splitlines()]
    suspects = [(row[0], row[1], row[3]) for row in labels if row[-1] == "suspect"]
    assert suspects == [("clara_04", "edith", "clara")]
    clean = (out / "train.clean.tsv").read_text()
    assert len(clean.splitlines()) == 39
    assert "clara_04" not in clean
    overview = (out / "overview.html").read_text()
    for split in ("train", "valid", "test"):
        assert f'<a href="{split}.report.html">' in overview
    marker = json.loads((out / ".shards" / "train" / "0-of-2.done").read_text())
    assert marker["n_utterances"] == marker["n_written"] == 20
    assert marker["n_skipped"] == marker["n_failed"] == 0
    assert 50 < marker["audio_seconds"] < 60
    assert marker["startup_seconds"] > 0
    assert marker["wall_seconds"] > 0
    assert (marker["device"], marker["precision"]) == ("cpu", "fp32")
    assert marker["encoder"]

    second = checkout.run_plain(*command)
    assert "Nothing to be done" in second.stdout

    path = out / "valid" / "alba_05.pt"
    before = path.stat().st_mtime_ns
    third = checkout.run_plain(*command, "--config", "xvector={batch_size: 7, n_shards: 3}")
    assert third.returncode == 0, third.stdout
    assert "train: 0 embedded, 40 already embedded" in third.stdout
    assert path.stat().st_mtime_ns == before
