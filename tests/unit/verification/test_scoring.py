import json

import numpy as np
import pytest
import torch

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.errors import TrialsError
from xvectors.results import tables, vectors
from xvectors.results.speakers import Speakers, average_speakers
from xvectors.results.tables import EmbeddedRow, FailureRow, write_embedded, write_failures
from xvectors.verification.scoring import Cohort, cosine_scores, score_trials
from xvectors.verification.trials import Trial, utt_id_of

# In the plane, by their angles in degrees: cosines are known.
ANGLES = {"a-1": 0, "a-2": 60, "b-1": 90, "b-2": 120, "c-1": 180}


@pytest.fixture
def config(tmp_path):
    """A split, all of it embedded but ``c-2``, and a trial list."""
    config = {
        "xvector": {
            "pretrained_model": "x/y",
            "save_path": str(tmp_path / "out"),
            "splits": ["test", "cohort"],
            "trials": {"list": str(tmp_path / "list.txt")},
        }
    }
    write_split(resolve_config(config), "test", ANGLES)
    write_split(resolve_config(config), "cohort", {"x-1": 30, "y-1": 75, "z-1": 200})
    failure = FailureRow("c-2", "c-2.wav", "file missing")
    write_failures(Layout.of(resolve_config(config)).failures("test"), [failure])
    return config


def write_split(config, split, angles):
    layout = Layout.of(config)
    folder = layout.embeddings(split)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (name, angle) in enumerate(angles.items()):
        radians = np.deg2rad(angle)
        vector = (i + 1) * np.array([np.cos(radians), np.sin(radians)])
        torch.save(torch.tensor(vector, dtype=torch.float32), folder / f"{name}.pt")
        rows.append(EmbeddedRow(name, name[0], str(folder / f"{name}.pt"), 1.0))
    write_embedded(layout.table(split), rows)
    write_failures(layout.failures(split), [])
    average_speakers(layout.table(split), layout.speakers(split), False, {})


def run(config, tmp_path, *lines):
    (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    resolved = resolve_config(config)
    score_trials(resolved, "list")
    layout = Layout.of(resolved)
    table = [line.split("\t") for line in layout.scores("list").read_text().splitlines()]
    return table, json.loads(layout.error_rates("list").read_bytes())


def test_cosines_and_error_rates_by_hand(config, tmp_path):
    lines = ["1 a-1 a-2", "0 a-1 b-1", "1 b-2 b-1", "", "nontarget a-2 c-1", "target b-1 b-1"]
    table, results = run(config, tmp_path, *lines)
    assert table[0] == ["label", "utt1", "utt2", "score"]
    assert [row[:3] for row in table[1:]] == [
        ["1", "a-1", "a-2"],
        ["0", "a-1", "b-1"],
        ["1", "b-2", "b-1"],
        ["0", "a-2", "c-1"],
        ["1", "b-1", "b-1"],
    ]
    cosines = [np.cos(np.deg2rad(angle)) for angle in (60, 90, 30, 120, 0)]
    assert np.allclose([float(row[3]) for row in table[1:]], cosines, atol=1e-6)
    assert results["trials"] == str(tmp_path / "list.txt")
    assert results["score"]["n_targets"] == 3
    assert results["score"]["n_nontargets"] == 2
    assert results["score"]["eer"] == 0
    assert results["score"]["min_dcf"] == {"0.01": 0, "0.05": 0}


def test_a_list_with_a_known_equal_error_rate(config, tmp_path):
    # Targets 60, 30, 0 and 180 degrees apart, non-targets 90, 120, 150 and 30: a quarter of each
    # lies on the wrong side of 75 degrees.
    lines = ["1 a-1 a-2", "1 b-1 b-2", "1 c-1 c-1", "1 a-1 c-1"]
    lines += ["0 a-1 b-1", "0 a-2 c-1", "0 b-1 c-1", "0 a-2 b-1"]
    _, results = run(config, tmp_path, *lines)
    assert results["score"]["eer"] == pytest.approx(0.25)
    # Half of the targets, 60 and 180 degrees, lie below all non-targets or among them.
    assert results["score"]["min_dcf"]["0.01"] == pytest.approx(0.75)


def test_pairs_without_labels_by_hand(config, tmp_path, caplog):
    caplog.set_level("INFO")
    config["xvector"] |= {"cohort": "cohort", "cohort_size": 2}
    table, results = run(config, tmp_path, "a-1 a-2", "a-1 x-1", "b-1 c-2", "c-1 a-1")
    assert table[0] == ["utt1", "utt2", "score", "normalized_score"]
    # x-1 is of another split, and c-2 could not be embedded.
    assert [row[:2] for row in table[1:]] == [["a-1", "a-2"], ["a-1", "x-1"], ["c-1", "a-1"]]
    cosines = np.cos(np.deg2rad([60, 30, 180]))
    assert np.allclose([float(row[2]) for row in table[1:]], cosines, atol=1e-6)
    score = results["score"]
    assert score["n_pairs"] == 3
    assert score["mean"] == pytest.approx(cosines.mean(), abs=1e-6)
    assert score["standard_deviation"] == pytest.approx(cosines.std(), abs=1e-6)
    assert score["median"] == pytest.approx(0.5, abs=1e-6)
    assert score["quantiles"]["0.95"] == pytest.approx(np.quantile(cosines, 0.95), abs=1e-6)
    assert results["normalized_score"]["n_pairs"] == 3
    assert "list: cosine of 3 pairs: mean 0.1220, median 0.5000" in caplog.text
    with pytest.raises(TrialsError, match="too few of its utterances"):
        run(config, tmp_path, "a-1 c-2")


def test_normalization_against_a_cohort_by_hand(config, tmp_path):
    config["xvector"] |= {"cohort": "cohort", "cohort_size": 2}
    table, results = run(config, tmp_path, "1 a-1 a-2", "0 a-1 b-1")
    assert table[0][-1] == "normalized_score"

    def statistics(angle):
        scores = sorted(np.cos(np.deg2rad(angle - other)) for other in (30, 75, 200))[-2:]
        return np.mean(scores), np.std(scores)

    for row, angles in zip(table[1:], ((0, 60), (0, 90)), strict=True):
        score = np.cos(np.deg2rad(angles[0] - angles[1]))
        expected = np.mean([(score - mean) / spread for mean, spread in map(statistics, angles)])
        assert float(row[4]) == pytest.approx(expected, abs=1e-5)
    assert results["cohort"] == "cohort"
    assert results["normalized_score"]["n_targets"] == 1


def test_many_trials_and_utterances_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(9, 4)).astype(np.float32)
    monkeypatch.setattr(tables, "load_embedding", lambda path: embeddings[int(path)])
    rows = {str(i): EmbeddedRow(str(i), str(i % 3), str(i), 1.0) for i in range(9)}
    trials = [Trial(i % 3 == j % 3, str(i), str(j), 1) for i in range(9) for j in range(9)]
    cohort = Cohort.of(Speakers(list("abc"), embeddings[:3]), 300)
    whole = cosine_scores(trials, rows, cohort)
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 2)
    in_parts = cosine_scores(trials, rows, cohort)
    for one, other in zip(whole.values(), in_parts.values(), strict=True):
        assert np.allclose(one.scores, other.scores)
        assert np.array_equal(one.speakers[:, 0] == one.speakers[:, 1], one.is_target)


def test_voxceleb_paths_name_utterances(config, tmp_path):
    assert utt_id_of("id10270/x6uYqmx31kE/00001.wav") == "id10270-x6uYqmx31kE-00001"
    assert utt_id_of("plain.name") == "plain.name"
    assert utt_id_of("speaker/utterance.v2") == "speaker-utterance.v2"
    assert utt_id_of("/") == "-"
    table, _ = run(config, tmp_path, "1 a/1.wav a/2.wav", "0 a/1.wav b/1.wav")
    assert table[1][1:3] == ["a-1", "a-2"]


def test_unknown_utterances_are_refused_and_failed_ones_left_out(config, tmp_path, caplog):
    with pytest.raises(TrialsError, match=r"list\.txt:2: d-1 is in no split's manifest"):
        run(config, tmp_path, "1 a-1 a-2", "0 a-1 d-1")
    table, _ = run(config, tmp_path, "1 a-1 a-2", "0 a-1 c-2", "0 a-1 b-1")
    assert [row[2] for row in table[1:]] == ["a-2", "b-1"]
    assert "left out 1 trials" in caplog.text
    with pytest.raises(TrialsError, match="too few of its utterances"):
        run(config, tmp_path, "1 a-1 a-2", "0 a-1 c-2")


def test_an_utterance_of_two_splits_is_ambiguous(config, tmp_path):
    config["xvector"]["splits"].append("again")
    write_split(resolve_config(config), "again", {"a-2": 1})
    with pytest.raises(TrialsError, match=r"list\.txt:1: a-2 is in two splits"):
        run(config, tmp_path, "1 a-1 a-2", "0 a-1 b-1")


def test_a_cohort_that_tells_nothing(config, tmp_path):
    for name in ("x-1", "y-1", "z-1"):
        torch.save(torch.tensor([1.0, 0.0]), tmp_path / f"out/y/cohort/{name}.pt")
    layout = Layout.of(resolve_config(config))
    average_speakers(layout.table("cohort"), layout.speakers("cohort"), False, {})
    config["xvector"] |= {"cohort": "cohort"}
    with pytest.raises(TrialsError, match="a-1: its scores against the cohort are all equal"):
        run(config, tmp_path, "1 a-1 a-2", "0 a-1 b-1")


def test_a_cohort_with_speakers_of_the_trials_is_said(config, tmp_path, caplog):
    config["xvector"] |= {"cohort": "cohort", "cohort_size": 2}
    run(config, tmp_path, "1 a-1 a-2", "0 a-1 b-1")
    assert "also in the cohort" not in caplog.text
    write_split(resolve_config(config), "cohort", {"x-1": 30, "y-1": 75, "b-9": 200})
    run(config, tmp_path, "1 a-1 a-2", "0 a-1 b-1")
    assert (
        "list.txt: 1 of its 2 speakers are also in the cohort, cohort. A cohort of other "
        "speakers normalizes better"
    ) in caplog.text


def test_a_cohort_of_one_speaker():
    with pytest.raises(TrialsError, match="fewer than 2 speakers"):
        Cohort.of(Speakers(["a"], np.ones((1, 2), dtype=np.float32)), 300)
