import gzip
import json
import tarfile

import pytest

from tests.support.corpora import add, make_shar
from xvectors.corpora.entries import LeftOut
from xvectors.corpora.shar import read_shar
from xvectors.errors import CorpusError


def cut(name, **changes):
    recording = {"id": "r", "sources": [{"type": "shar", "channels": [0], "source": ""}]}
    whole = {"id": name, "type": "MonoCut", "start": 3.0, "duration": 2.0, "channel": 0}
    return {**whole, "recording": recording, **changes}


def write_shard(folder, cuts, names):
    lines = "".join(f"{json.dumps(one)}\n" for one in cuts)
    (folder / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with tarfile.open(folder / "recording.000000.tar", "w") as tar:
        for name in names:
            add(tar, name, b"audio")
            add(tar, name.rpartition(".")[0] + ".json", b"{}")


def test_cuts_begin_where_their_audio_does(tmp_path):
    parts = [
        {"id": "s", "start": 0.0, "duration": 2.0, "text": "all", "speaker": "anna"},
        {"id": "t", "start": 0.5, "duration": 9.0, "text": "some"},
    ]
    write_shard(tmp_path, [cut("a", supervisions=parts), cut("x.y")], ["a.flac", "x.y.flac"])
    whole, part, bare = read_shar(tmp_path)
    path = f"{tmp_path}/recording.000000.tar"
    assert (whole.utt_id, whole.speaker_id, whole.text, whole.seconds) == ("s", "anna", "all", 2.0)
    assert whole.wav_path == part.wav_path == f"{path}:512+5"
    assert (part.utt_id, part.speaker_id, part.segment) == ("t", "t", (0.5, 2.0))
    assert (bare.utt_id, bare.seconds, bare.segment) == ("x.y", 2.0, None)


def test_cuts_without_audio_are_left_out(tmp_path):
    write_shard(tmp_path, [cut("a"), cut("b")], ["a.nodata", "b.flac"])
    left_out, entry = read_shar(tmp_path)
    assert left_out == LeftOut(
        f"{tmp_path}/cuts.000000.jsonl.gz:1", "a cut without audio in recording.000000.tar"
    )
    assert entry.utt_id == "b"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "not a lhotse recording or cut"),
        ("{}", "not a lhotse recording or cut"),
        (json.dumps(cut("a", type="MixedCut")), "a is a MixedCut; only MonoCuts can be read"),
        (json.dumps(cut("a", duration="x")), "not a lhotse recording or cut"),
    ],
)
def test_what_is_not_a_cut(tmp_path, content, reason):
    write_shard(tmp_path, [], ["a.flac"])
    cuts = tmp_path / "cuts.000000.jsonl.gz"
    cuts.write_bytes(gzip.compress(content.encode()))
    with pytest.raises(CorpusError, match=f"^{cuts}:1: {reason}"):
        list(read_shar(tmp_path))


def test_tars_that_are_missing_or_compressed(tmp_path):
    with pytest.raises(CorpusError, match=r"no cuts\.\*\.jsonl\.gz in it"):
        list(read_shar(tmp_path))
    write_shard(tmp_path, [cut("a")], ["a.flac"])
    tar = tmp_path / "recording.000000.tar"
    tar.rename(tmp_path / "recording.000000.tar.gz")
    with pytest.raises(CorpusError, match=r"tar\.gz: a compressed tar cannot be read in part"):
        list(read_shar(tmp_path))
    (tmp_path / "recording.000000.tar.gz").unlink()
    with pytest.raises(CorpusError, match=r"recording\.000000\.tar is missing beside it"):
        list(read_shar(tmp_path))


def test_a_tar_that_ends_early_is_told(tmp_path):
    make_shar(tmp_path)
    tar = tmp_path / "shar" / "recording.000001.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    found = list(read_shar(tmp_path / "shar"))
    assert [one.utt_id for one in found[:4]] == ["s/1", "s2", "s3", "c"]
    assert found[4].place == str(tar)
