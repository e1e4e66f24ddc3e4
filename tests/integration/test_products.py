import json

import numpy as np
import pytest
import soundfile
from pyarrow import parquet
from safetensors.numpy import load_file

from tests.support.kaldi_files import read_vectors

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def produced(embedded, tmp_path_factory):
    """A checkout with all products. Tests copy it and leave it as it is."""
    checkout = embedded.copied(tmp_path_factory.mktemp("produced"))
    checkout.xvector |= {"exports": ["kaldi", "safetensors", "parquet"], "cohort": "train"}
    checkout.xvector |= {"speaker_means": True, "report": True, "labels": True}
    checkout.xvector["clusters"] = True
    checkout.add_utterance("alba_07", "alba_07")
    (checkout.root / "trials.txt").write_text("1 alba_00 alba_07\n0 alba_00 hugo_04\n")
    checkout.xvector["trials"] = {"mine": "trials.txt"}
    assert "mine: EER 0.00% by cosine" in checkout.run_well()
    return checkout


@pytest.fixture
def full(produced, tmp_path):
    """A copy of the checkout with all products."""
    return produced.copied(tmp_path)


def test_all_products_of_embeddings(full):
    vectors = {name: vector.numpy() for name, vector in full.vectors().items()}
    table = parquet.read_table(full.out / "train.parquet")
    scp = read_vectors(full.out / "train.kaldi" / "xvector.scp")
    for found in (
        load_file(full.out / "train.safetensors"),
        dict(zip(table["utt_id"].to_pylist(), table["embedding"].to_numpy(), strict=True)),
        scp,
    ):
        assert found.keys() == vectors.keys()
        assert all(np.array_equal(found[name], vectors[name]) for name in vectors)
    speakers = load_file(full.out / "train.speakers.safetensors")
    assert len(speakers) == 8
    mean = (vectors["alba_00"].astype(np.float64) + vectors["alba_07"]) / 2
    assert np.allclose(speakers["alba"], mean, rtol=1e-6)
    one, other = vectors["alba_00"], vectors["alba_07"]
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert float(full.rows("mine.scores.tsv")[1][3]) == pytest.approx(cosine, abs=1e-5)
    results = json.loads((full.out / "mine.scores.json").read_text())
    assert results["normalized_score"]["eer"] == 0
    for page in ("mine.scores.html", "train.report.html"):
        assert (full.out / page).stat().st_size > 100_000

    labels = {row[0]: row for row in full.rows("train.labels.tsv")[1:]}
    assert labels.keys() == vectors.keys()
    # Each is the only other utterance of the speaker.
    assert [float(labels[name][2]) for name in ("alba_00", "alba_07")] == pytest.approx(
        [cosine] * 2, abs=1e-5
    )
    assert labels["hugo_04"][-1] == "single"
    clusters = full.rows("train.clusters.tsv")
    assert [row[0] for row in clusters[1:]] == list(labels)
    found = {int(row[1]) for row in clusters[1:]} - {-1}
    means = load_file(full.out / "train.clusters.safetensors")
    assert set(means) == {str(number) for number in found}
    clean = full.rows("train.clean.tsv")
    assert [row[0] for row in clean] == list(labels)

    # In this copy, products that name files by absolute paths are made again.
    full.run_well()
    assert full.rows("train.clean.tsv")[0][1] == str(full.audio("alba_00"))
    assert "Nothing to be done" in full.run_well()

    # A changed recording is embedded again, and the products that depend on it are made again.
    full.audio("hugo_04").write_bytes(full.audio("grace_04").read_bytes())
    assert "1 embedded, 8 already embedded" in full.run_well()
    changed = full.vectors()["hugo_04"].numpy()
    assert not np.array_equal(changed, vectors["hugo_04"])
    assert np.array_equal(load_file(full.out / "train.safetensors")["hugo_04"], changed)
    scp = read_vectors(full.out / "train.kaldi" / "spk_xvector.scp")
    assert np.array_equal(scp["hugo"], changed)


def test_the_score_target_and_length_normalization(full):
    before = load_file(full.out / "train.speakers.safetensors")
    full.xvector |= {"length_normalize": True}
    (full.out / "train.parquet").unlink()
    (full.out / "mine.scores.html").unlink()
    assert "mine: EER 0.00% by cosine" in full.run_well("--", "score")
    assert not (full.out / "train.parquet").exists()
    assert (full.out / "mine.scores.html").exists()
    # Speakers with one utterance. With several, unit vectors are averaged.
    after = load_file(full.out / "train.speakers.safetensors")
    assert after.keys() == before.keys()
    for name in before.keys() - {"alba"}:
        norm = np.linalg.norm(before[name])
        assert np.allclose(after[name], before[name] / norm, rtol=1e-5)

    (full.root / "trials.txt").write_text("1 alba_00 nobody\n0 alba_00 hugo_04\n")
    assert full.run_badly("--dry-run") == ["error: trials.txt:1: nobody is in no split's manifest"]

    del full.xvector["trials"]
    result = full.run("--", "score")
    assert result.returncode != 0
    assert "nothing to score: give lists of trials as xvector.trials" in result.stdout


def test_after_a_run_that_stopped_after_collecting_nothing_stays_stale(full):
    # As long as before, so that the table stays the same.
    samples, rate = soundfile.read(full.audio("boris_01"))
    soundfile.write(full.audio("boris_01"), samples[::-1], rate)
    table = (full.out / "train.tsv").read_bytes()
    full.run_well("--until", "collect_split")
    assert (full.out / "train.tsv").read_bytes() == table
    full.run_well()
    changed = full.vectors()["boris_01"].numpy()
    assert np.array_equal(load_file(full.out / "train.safetensors")["boris_01"], changed)
    assert np.array_equal(load_file(full.out / "train.speakers.safetensors")["boris"], changed)
    kaldi = read_vectors(full.out / "train.kaldi" / "xvector.scp")
    assert np.array_equal(kaldi["boris_01"], changed)
    assert "Nothing to be done" in full.run_well()
