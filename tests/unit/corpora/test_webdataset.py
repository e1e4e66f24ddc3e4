import json
import tarfile

import pytest

from tests.support.corpora import add
from xvectors.corpora.entries import LeftOut
from xvectors.corpora.webdataset import read_webdataset
from xvectors.errors import CorpusError


def read(folder, *members, **options):
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, content in members:
            add(tar, name, content)
    return list(read_webdataset(folder, **options))


def test_neighbours_are_a_sample(tmp_path):
    one, two = read(
        tmp_path,
        ("s/a.mp3", b"audio"),
        ("s/a.json", json.dumps({"speaker": "anna", "text": "hello", "duration": 2}).encode()),
        ("s/b.FLAC", b"other"),
        ("s/b.spk", b"boris\n"),
    )
    assert (one.utt_id, one.speaker_id, one.text, one.seconds) == ("s/a", "anna", "hello", 2.0)
    assert one.wav_path == f"{tmp_path}/a.tar:512+5"
    assert (two.utt_id, two.speaker_id, two.seconds) == ("s/b", "boris", None)
    assert two.place == f"{tmp_path}/a.tar: s/b"


@pytest.mark.parametrize(
    ("dot", "utt_ids"), [("first", ["x/id1"]), ("last", ["x/id1.part", "x/id1.wav"])]
)
def test_the_dot_at_which_a_key_ends(tmp_path, dot, utt_ids):
    members = [("x/id1.part.wav", b"1"), ("x/id1.wav.flac", b"2"), ("x/id1.wav.spk", b"s")]
    found = read(tmp_path, *members, dot=dot)
    assert [entry.utt_id for entry in found] == utt_ids


def test_fields_by_name(tmp_path):
    metadata = json.dumps({"id": "same", "who": 7, "said": "words"}).encode()
    (entry,) = read(
        tmp_path,
        ("a.json", metadata),
        ("a.wav", b"1"),
        id_field="__key__",
        speaker_field="who",
        text_field="said",
    )
    assert (entry.utt_id, entry.speaker_id, entry.text) == ("a", "7", "words")


def test_a_field_that_no_sample_has_is_refused(tmp_path):
    members = [("a.json", b'{"who": 1}'), ("a.wav", b"1"), ("b.wav", b"1"), ("b.txt", b"words")]
    assert [one.speaker_id for one in read(tmp_path, *members, speaker_field="who")] == ["1", "b"]
    message = f"^{tmp_path}: no sample has a field 'spaeker', only __key__, text, who$"
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, *members, speaker_field="spaeker")


def test_what_is_left_out(tmp_path):
    found = read(
        tmp_path,
        ("a.json", b"{}"),
        ("b.wav", b"1"),
        ("b.json", b"{"),
        ("c.wav", b"1"),
        ("c.txt", b"\xff"),
        ("README", b"1"),
        ("d.wav", b"1"),
    )
    assert [one.reason for one in found[:-1]] == [
        "a sample without audio",
        "a sample whose metadata cannot be read",
        "a sample whose metadata cannot be read",
        "a sample without audio",
    ]
    assert found[0].place == f"{tmp_path}/a.tar: a"
    assert "b.json is not JSON" in found[1].place
    assert found[-1].utt_id == "d"


def test_a_tar_that_ends_early_is_told(tmp_path):
    read(tmp_path, ("a.wav", b"1" * 600), ("b.wav", b"1" * 600))
    path = tmp_path / "a.tar"
    path.write_bytes(path.read_bytes()[:1000])
    entry, problem = read_webdataset(path)
    assert (entry.utt_id, entry.wav_path) == ("a", f"{path}:512+600")
    assert isinstance(problem, LeftOut)
    assert problem.place == str(path)
