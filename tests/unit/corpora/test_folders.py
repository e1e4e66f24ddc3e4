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


@pytest.fixture
def mine(tmp_path):
    copy("alba_00", tmp_path / "mine" / "a" / "1.flac")
    copy("alba_01", tmp_path / "mine" / "b" / "2.flac")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("speaker", "expected"),
    [
        ("me", [("a-1", "me"), ("b-2", "me")]),
        ("{utterance}", [("a-1", "a/1"), ("b-2", "b/2")]),
    ],
)
def test_a_folder_without_speakers(mine, manifest, speaker, expected):
    corpus = {"kind": "folder", "path": str(mine), "pattern": "*/*.flac"}
    error = refusal(corpus, manifest)
    assert error.startswith("pattern: '*/*.flac' has no {speaker}; write it where")
    make_manifest(corpus | {"speaker": speaker}, manifest)
    assert [(row[0], row[3]) for row in rows(manifest)] == expected
    manifest.unlink()
    error = refusal(corpus | {"speaker": speaker, "pattern": "{speaker}/*.flac"}, manifest)
    assert error.startswith("speaker: '{speaker}/*.flac' has {speaker} already")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("{speaker}/*.wav", "left out 2: .flac: pattern {speaker}/*.wav wants .wav"),
        (
            "{speaker}.flac",
            "left out 2: .flac: pattern {speaker}.flac wants files 0 folders deep, not 1",
        ),
        ("{speaker}/x{utterance}.*", "2: .flac: does not match pattern {speaker}/x{utterance}.*"),
    ],
)
def test_a_pattern_that_finds_nothing_says_why(mine, manifest, pattern, reason):
    write(mine / "notes.txt", "some")
    error = refusal({"kind": "folder", "path": str(mine), "pattern": pattern}, manifest)
    assert f"{reason} (the first is a/1.flac)" in error
    assert "left out 1: .txt: not an audio file by its name (the first is notes.txt)" in error
    assert len(error.splitlines()) == 1


def test_what_is_left_out_is_counted_by_suffix_and_reason(mine, manifest, caplog):
    copy("alba_02", mine / "a" / "3.FLAC")
    copy("alba_03", mine / "b" / "4.FLAC")
    latin = copy("alba_04", mine / "b" / b"jos\xe9.flac".decode("utf-8", "surrogateescape"))
    make_manifest({"kind": "folder", "path": str(mine), "pattern": "{speaker}/*.flac"}, manifest)
    assert [row[0] for row in rows(manifest)] == ["a-1", "b-2"]
    first = f"{mine}: left out 2: .FLAC: pattern {{speaker}}/*.flac wants .flac"
    assert f"{first} (the first is a/3.FLAC)" in caplog.text
    name = latin.name.encode("unicode_escape").decode()
    assert f"left out 1: a name that is not UTF-8 (the first is {mine}/b/{name})" in caplog.text


def test_a_link_to_a_parent_gives_nothing_more(mine, manifest):
    (mine / "a" / "all").symlink_to(mine)
    (mine / "0").symlink_to(mine / "b")
    corpus = {"kind": "folder", "path": str(mine), "pattern": "{speaker}/**/*.flac"}
    make_manifest(corpus, manifest)
    assert [row[0] for row in rows(manifest)] == ["a-1", "b-2"]
