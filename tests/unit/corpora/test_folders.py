import pytest

from tests.support.corpora import (
    copy,
    make_libritts,
    make_vctk,
    refusal,
    rows,
    write,
)
from xvectors.corpora.make_manifest import make_manifest


def test_subsets_of_libritts(tmp_path, manifest):
    corpus = make_libritts(tmp_path).options
    assert "LibriTTS/train: cannot be read: No such file" in refusal(
        corpus | {"subsets": ["train"]}, manifest
    )
    make_manifest(corpus | {"subsets": ["test-clean"]}, manifest)
    assert [row[0] for row in rows(manifest)] == ["19_7_0_0"]


def test_the_other_microphone_of_vctk(tmp_path, manifest):
    corpus = make_vctk(tmp_path)
    make_manifest(corpus.options | {"microphone": "mic2"}, manifest)
    assert [row[0] for row in rows(manifest)] == [want.utt_id for want in corpus.utterances]
    assert all(row[1].endswith("_mic2.flac") for row in rows(manifest))


def test_the_older_vctk(tmp_path, manifest):
    copy("boris_00", tmp_path / "VCTK-Corpus" / "wav48" / "p225" / "p225_001.wav")
    write(tmp_path / "VCTK-Corpus" / "txt" / "p225" / "p225_001.txt", "Please call Stella.")
    make_manifest({"kind": "vctk", "path": str(tmp_path / "VCTK-Corpus")}, manifest)
    ((utt_id, _, text, speaker, _),) = rows(manifest)
    assert (utt_id, text, speaker) == ("p225_001", "Please call Stella.", "p225")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{speaker}/**/*.flac", [("a_b-x-a_b_1", "a_b"), ("c-c_2", "c")]),
        ("{speaker}/**/{utterance}.flac", [("a_b_1", "a_b"), ("c_2", "c")]),
        ("{speaker}/**/{speaker}_{utterance}.*", [("1", "a_b"), ("2", "c")]),
        ("**/{speaker}_{utterance}.flac", [("b_1", "a"), ("2", "c")]),
        ("{speaker}/*.flac", [("c-c_2", "c")]),
        ("{speaker}/**", [("a_b-x-a_b_1", "a_b"), ("c-c_2", "c")]),
        ("{speaker}/*.own", [("c-c_3", "c")]),
    ],
)
def test_patterns_of_folders(tmp_path, manifest, pattern, expected):
    copy("alba_00", tmp_path / "mine" / "a_b" / "x" / "a_b_1.flac")
    copy("alba_01", tmp_path / "mine" / "c" / "c_2.flac")
    for name in ("c_3.own", "notes"):
        write(tmp_path / "mine" / "c" / name, "no audio by its name")
    make_manifest({"kind": "folder", "path": f"{tmp_path}/mine", "pattern": pattern}, manifest)
    assert [(row[0], row[3]) for row in rows(manifest)] == expected
