import json

import numpy as np
import pytest

from xvectors.errors import ShardError
from xvectors.results.labels import (
    COLUMNS,
    check_labels,
    choose_threshold,
    is_clean_of,
    judge,
    read_suspects,
    score_labels,
    write_clean_manifest,
)
from xvectors.results.vectors import normalize_lengths

from ...support.made_split import make_split, make_voices


def score_one_by_one(vectors, labels):
    """The first round's scores, from their definition."""
    own, nearest = [], []
    for i, vector in enumerate(vectors):
        found = {}
        for label in np.unique(labels):
            members = (labels == label) & (np.arange(len(labels)) != i)
            if members.any():
                mean = vectors[members].mean(axis=0)
                found[label] = vector @ mean / np.linalg.norm(mean)
        own.append(found.pop(labels[i], np.nan))
        nearest.append(max(found.values()))
    return np.array(own), np.array(nearest)


def voices(n_speakers, n_utterances, seed=0):
    speakers, embeddings = make_voices(n_speakers, n_utterances, seed=seed)
    labels = np.unique(speakers, return_inverse=True)[1].astype(np.int64)
    return normalize_lengths(embeddings), labels


def test_scores_are_those_of_the_definition():
    vectors, labels = voices(6, 5)
    scores = score_labels(vectors, labels, 6)
    own, nearest = score_one_by_one(vectors, labels)
    assert np.abs(scores.own - own).max() < 1e-6
    assert np.abs(scores.nearest - nearest).max() < 1e-6
    assert (scores.nearest_speaker != labels).all()


def test_a_second_round_takes_the_means_without_what_the_first_one_suspects():
    vectors, labels = voices(4, 6)
    right = score_labels(vectors, labels, 4)
    wrong = labels.copy()
    wrong[:2] = 1  # two utterances of speaker 0
    scores = score_labels(vectors, wrong, 4)
    others = labels > 1
    of_1 = labels == 1
    # The means of speaker 1 are as they were without the two intruders.
    assert np.abs(scores.own[of_1] - right.own[of_1]).max() < 1e-6
    assert np.abs(scores.own[others] - right.own[others]).max() < 1e-6
    assert (scores.nearest_speaker[:2] == 0).all()
    assert (scores.margin[:2] < 0).all()


@pytest.mark.parametrize("n_wrong", [0, 2, 10, 40])
def test_wrong_labels_are_found(n_wrong):
    vectors, labels = voices(10, 20)
    random = np.random.default_rng(1)
    given = labels.copy()
    places = random.choice(len(labels), n_wrong, replace=False)
    given[places] = (labels[places] + random.integers(1, 10, n_wrong)) % 10
    scores = score_labels(vectors, given, 10)
    threshold = choose_threshold(scores.margin, 0.05)
    suspects = {i for i, verdict in enumerate(judge(scores, threshold)) if verdict == "suspect"}
    assert suspects == set(places.tolist())
    assert abs(threshold.n_wrong - n_wrong) <= 2


def test_the_threshold_bounds_false_discoveries():
    """Margins of right labels from a normal distribution, whose lower end crosses 0."""
    random = np.random.default_rng(0)
    right = random.normal(0.3, 0.12, 20_000)
    wrong = random.normal(-0.35, 0.12, 400)
    threshold = choose_threshold(np.concatenate([right, wrong, [np.nan]]), 0.05)
    assert threshold.center == pytest.approx(0.3, abs=0.01)
    assert threshold.spread == pytest.approx(0.12, abs=0.01)
    n_false, n_true = (right <= threshold.margin).sum(), (wrong <= threshold.margin).sum()
    assert n_false / (n_false + n_true) < 0.08
    assert n_true > 360
    assert threshold.n_wrong == pytest.approx(400, abs=40)
    stricter = choose_threshold(np.concatenate([right, wrong]), 0.001)
    assert stricter.margin < threshold.margin


def test_one_speaker_alone_and_single_utterances():
    vectors, labels = voices(1, 3)
    alone = score_labels(vectors, labels, 1)
    assert np.isnan(alone.nearest).all()
    assert judge(alone, choose_threshold(alone.margin, 0.05)) == ["ok"] * 3
    vectors, labels = voices(3, 1)
    singles = score_labels(vectors, labels, 3)
    assert np.isnan(singles.own).all()
    assert judge(singles, choose_threshold(singles.margin, 0.05)) == ["single"] * 3


@pytest.fixture
def split(tmp_path):
    """Three speakers of five, one of whose utterances is labelled as another's and one repeats."""
    speakers, embeddings = make_voices(3, 5)
    speakers[0] = speakers[5]
    embeddings[9] = embeddings[8]
    make_split(tmp_path, [*speakers, "lonely"], np.concatenate([embeddings, -embeddings[:1]]))
    manifest = tmp_path / "train.tsv"
    names = [f"utt{i:05d}" for i in range(16)]
    lines = [f"{name}\twav/{name}.wav\tword\tvoice\n" for name in [*names[:4], "bad", *names[4:]]]
    manifest.write_text("\n".join(lines))
    return tmp_path / "tag" / "train.tsv"


def test_the_files_of_a_split(split, tmp_path):
    table, summary = tmp_path / "train.labels.tsv", tmp_path / "train.labels.json"
    manifest = tmp_path / "train.tsv"
    check_labels(
        split, manifest, table, summary, false_discovery_rate=0.05, metadata={"provenance": "{}"}
    )
    header, *rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == [f"utt{i:05d}" for i in range(16)]
    verdicts = [row[-1] for row in rows]
    assert verdicts == ["suspect"] + ["ok"] * 14 + ["single"]
    assert rows[0][1:4:2] == ["voice001", "voice000"]
    own, nearest, margin = (float(rows[0][i]) for i in (2, 4, 5))
    assert margin == pytest.approx(own - nearest, abs=2e-6)
    assert rows[-1][2] == rows[-1][5] == ""
    assert [row[6] for row in rows] == ["utt00008" if i == 9 else "" for i in range(16)]
    (suspect,) = read_suspects(table)
    assert suspect == ("utt00000", "voice001", "voice000", own, nearest, margin)
    assert is_clean_of(str(manifest), summary)
    assert not is_clean_of(str(tmp_path / "elsewhere" / "train.tsv"), summary)
    content = json.loads(summary.read_text())
    assert (content["ok"], content["suspect"], content["single"]) == (14, 1, 1)
    assert content["duplicates"] == 1
    assert content["threshold"]["margin"] == pytest.approx(margin, abs=1e-6)
    assert content["threshold"]["n_wrong"] == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "train.labels.json",
        "train.labels.tsv",
        "train.tsv",
    ]


def test_the_clean_manifest_may_be_used_where_it_lies(split, tmp_path):
    table, clean = tmp_path / "train.labels.tsv", tmp_path / "elsewhere.tsv"
    check_labels(
        split,
        tmp_path / "train.tsv",
        table,
        tmp_path / "train.labels.json",
        false_discovery_rate=0.05,
        metadata={},
    )
    write_clean_manifest(tmp_path / "train.tsv", table, clean)
    rows = [line.split("\t") for line in clean.read_text().splitlines()]
    assert [row[0] for row in rows] == [f"utt{i:05d}" for i in range(1, 16)]
    assert rows[0][1:] == [str(tmp_path / "wav" / "utt00001.wav"), "word", "voice"]
    (tmp_path / "train.tsv").write_text("utt00001\tx.wav\tword\tvoice\n")
    with pytest.raises(ShardError, match="has changed"):
        write_clean_manifest(tmp_path / "train.tsv", table, clean)


@pytest.mark.parametrize("content", [None, "", "no header\n", "\t".join(COLUMNS) + "\na\tb\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    table = tmp_path / "train.labels.tsv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(ShardError, match=r"train\.labels\.tsv: missing or damaged\. Delete it"):
        list(read_suspects(table))
