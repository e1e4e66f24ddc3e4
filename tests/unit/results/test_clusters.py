import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from xvectors.results.clusters import COLUMNS, agreement, cluster_split, find_clusters
from xvectors.results.vectors import normalize_lengths

from ...support.made_split import make_split, make_voices


def firsts(n):
    """No vector has the content of an earlier one."""
    return np.full(n, -1)


def test_clusters_count_from_the_largest_and_who_is_alone_has_none():
    _, embeddings = make_voices(3, 8)
    vectors = normalize_lengths(np.concatenate([embeddings[:6], embeddings[8:], -embeddings[:1]]))
    clusters = find_clusters(vectors, firsts(23))
    assert clusters.numbers.tolist() == [2] * 6 + [0] * 8 + [1] * 8 + [-1]
    mean = vectors[:6].mean(axis=0)
    assert np.allclose(clusters.means[2], mean, atol=1e-6)
    assert clusters.cosines[0] == pytest.approx(vectors[0] @ mean / np.linalg.norm(mean), abs=1e-6)
    assert np.isnan(clusters.cosines[-1])


def test_equal_vectors_are_one_place_and_share_a_cluster():
    _, embeddings = make_voices(3, 5)
    vectors = normalize_lengths(embeddings)
    repeated = np.concatenate([vectors, np.repeat(vectors[:1], 40, axis=0)])
    duplicate_of = np.concatenate([np.full(15, -1), np.zeros(40, dtype=np.int64)])
    clusters = find_clusters(repeated, duplicate_of)
    assert (clusters.numbers[15:] == clusters.numbers[0]).all()
    assert len(clusters.means) == 3


def test_a_split_without_utterances_has_no_clusters():
    clusters = find_clusters(np.zeros((0, 0), np.float32), firsts(0))
    assert len(clusters.numbers) == len(clusters.means) == 0


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_utterances_to_compare_are_alone(n):
    _, embeddings = make_voices(1, n)
    clusters = find_clusters(normalize_lengths(embeddings), firsts(n))
    assert clusters.numbers.tolist() == [-1] * n


def test_agreement_with_labels():
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert agreement(labels, np.array([1, 1, 1, 0, 0, 0])) == {
        "purity": 1,
        "normalized_mutual_information": pytest.approx(1),
    }
    assert agreement(labels, np.array([0, 0, 0, 0, 1, 1]))["purity"] == pytest.approx(5 / 6)
    # Two that are alone are no pair.
    assert agreement(labels, np.array([0, 0, -1, -1, 1, 1]))["purity"] == 1
    assert agreement(np.arange(4), np.zeros(4, np.int64)) == {}
    assert agreement(np.zeros(4, np.int64), np.zeros(4, np.int64)) == {}


def test_the_files_of_a_split(tmp_path):
    speakers, embeddings = make_voices(4, 6)
    make_split(tmp_path, speakers, 3 * embeddings)
    names = [tmp_path / f"train.clusters.{kind}" for kind in ("tsv", "safetensors", "json")]
    cluster_split(tmp_path / "tag" / "train.tsv", *names, metadata={"provenance": "{}"})
    header, *rows = [line.split("\t") for line in names[0].read_text().splitlines()]
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == [f"utt{i:05d}" for i in range(24)]
    assert [int(row[1]) for row in rows] == [i // 6 for i in range(24)]
    means = load_file(names[1])
    assert sorted(means) == ["0", "1", "2", "3"]
    vector = embeddings[7] / np.linalg.norm(embeddings[7])
    cosine = vector @ means["1"] / np.linalg.norm(means["1"])
    assert float(rows[7][2]) == pytest.approx(cosine, abs=2e-6)
    content = json.loads(names[2].read_text())
    counts = ("n_utterances", "n_clusters", "n_alone", "n_speakers")
    assert [content[count] for count in counts] == [24, 4, 0, 4]
    assert content["method"] == "average linkage"
    assert content["purity"] == 1
    assert content["normalized_mutual_information"] == pytest.approx(1)
    assert content["provenance"] == "{}"
    assert -1 < content["threshold"] < 1
