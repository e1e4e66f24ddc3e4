import json

import numpy as np
import pytest
import soundfile
from pyarrow import parquet
from safetensors.numpy import load_file

from tests.support.kaldi_files import read_vectors

pytestmark = pytest.mark.integration


@pytest.fixture
def full(done):
    """An embedded checkout that is asked for all there is."""
    done.xvector |= {"exports": ["kaldi", "safetensors", "parquet"], "cohort": "train"}
    done.xvector |= {"speaker_means": True, "report": True}
    done.add_utterance("alba_07", "alba_07")
    (done.root / "trials.txt").write_text("1 alba_00 alba_07\n0 alba_00 hugo_04\n")
    done.xvector["trials"] = {"mine": "trials.txt"}
    return done


def test_all_that_is_made_of_embeddings(full):
    output = full.run_well()
    assert "mine: cosine of 2 trials: EER 0.00%" in output
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

    assert "Nothing to be done" in full.run_well()

    # What has changed is made again, and what hangs on it.
    full.audio("hugo_04").write_bytes(full.audio("grace_04").read_bytes())
    assert "1 embedded, 8 already embedded" in full.run_well()
    changed = full.vectors()["hugo_04"].numpy()
    assert not np.array_equal(changed, vectors["hugo_04"])
    assert np.array_equal(load_file(full.out / "train.safetensors")["hugo_04"], changed)
    scp = read_vectors(full.out / "train.kaldi" / "spk_xvector.scp")
    assert np.array_equal(scp["hugo"], changed)


def test_scoring_alone(full):
    full.xvector |= {"exports": ["parquet"], "cohort": None}
    assert "mine: cosine of 2 trials" in full.run_well("--", "score")
    assert not (full.out / "train.parquet").exists()
    (full.out / "mine.scores.html").unlink()
    full.run_well("--", "score")
    assert (full.out / "mine.scores.html").exists()
    del full.xvector["trials"]
    result = full.run("--", "score")
    assert result.returncode != 0
    assert "nothing to score: give lists of trials as xvector.trials" in result.stdout


def test_lengths_are_normalized_when_asked(done):
    done.xvector["speaker_means"] = True
    done.run_well()
    before = load_file(done.out / "train.speakers.safetensors")
    done.xvector["length_normalize"] = True
    assert "0 embedded, 8 already embedded" in done.run_well()
    after = load_file(done.out / "train.speakers.safetensors")
    for name, mean in before.items():
        assert np.allclose(after[name], mean / np.linalg.norm(mean), rtol=1e-5)


def test_mistakes_are_one_line_each(done):
    done.xvector |= {"exports": ["csv"], "cohort": "other", "trials": {"mine": "none.txt"}}
    where = f"error: {done.root}/my.yaml: xvector"
    assert done.run_badly("--dry-run") == [
        f"{where}.exports.0: must be one of kaldi, safetensors, parquet, numpy, cosyvoice, "
        "espnet3, not 'csv'"
    ]
    done.xvector["exports"] = []
    assert done.run_badly("--dry-run") == [
        f"{where}.trials.mine: no such trial list: none.txt",
        f"{where}.cohort: other is none of xvector.splits",
    ]
    (done.root / "none.txt").write_text("1 alba_00 nobody\n0 alba_00 hugo_04\n")
    done.xvector["cohort"] = None
    assert "error: none.txt:1: nobody is in no split's manifest" in done.run_badly()


def test_a_run_that_was_cut_short_after_collecting_leaves_nothing_stale(full):
    full.run_well()
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
