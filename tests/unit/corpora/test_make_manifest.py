import pytest
import soundfile

from tests.support.corpora import (
    MAKERS,
    copy,
    demo_audio,
    make_kaldi,
    make_libritts,
    refusal,
    rows,
    write,
)
from xvectors.audio.files import open_file
from xvectors.corpora.make_manifest import make_manifest
from xvectors.errors import CorpusError
from xvectors.manifest.reading import read_manifest


@pytest.mark.parametrize("kind", MAKERS)
def test_a_manifest_of_every_kind_of_corpus(tmp_path, manifest, kind):
    corpus = MAKERS[kind](tmp_path)
    make_manifest(corpus.options, manifest)
    read = read_manifest(manifest).utterances
    assert [utterance.utt_id for utterance in read] == [want.utt_id for want in corpus.utterances]
    for row, utterance, want in zip(rows(manifest), read, corpus.utterances, strict=True):
        assert row[1].startswith("/")
        assert (row[2], row[3]) == (want.text, want.speaker_id)
        with open_file(row[1]) as file:
            samples, rate = soundfile.read(file)
        original, original_rate = soundfile.read(demo_audio(want.recording))
        # Shar holds the part of a recording that a cut is, resampled if the cut is.
        if rate == original_rate:
            assert str(samples.tolist())[1:-1] in str(original.tolist())
        if kind != "shar":
            assert samples.tolist() == original.tolist()
        if want.segment is None:
            assert len(row) == 5
            assert utterance.seconds == pytest.approx(len(samples) / rate, abs=1e-4)
        else:
            start, end = want.segment
            assert utterance.seconds == pytest.approx(end - start, abs=2e-6)
            assert [field.split("=")[0] for field in row[4:]] == ["start", "end"]
            found = [float(field.split("=")[1]) for field in row[4:]]
            assert found == pytest.approx([start, end], abs=1e-6)


def test_files_that_cannot_be_read_keep_their_lines(tmp_path, manifest, caplog):
    corpus = make_libritts(tmp_path)
    (bad,) = (tmp_path / "LibriTTS").rglob("84_121_0_1.wav")
    bad.write_text("rubbish")
    with caplog.at_level("INFO"):
        make_manifest(corpus.options, manifest)
    assert [utterance.seconds is None for utterance in read_manifest(manifest).utterances] == [
        False,
        True,
        False,
    ]
    assert (
        f"1 utterances whose audio file is missing or does not tell its length, the first is {bad}"
        in caplog.text
    )
    assert "3 utterances, 2 speakers" in caplog.text


def test_a_manifest_is_the_same_every_time(tmp_path, manifest):
    corpus = make_kaldi(tmp_path)
    make_manifest(corpus.options, manifest)
    again = tmp_path / "again.tsv"
    make_manifest(corpus.options, again)
    assert again.read_bytes() == manifest.read_bytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\tb.flac", "has a tab or a line break"),
        ("a\x07b.flac", "has a control character"),
        (b"a\xff.flac".decode("utf-8", "surrogateescape"), "not UTF-8"),
        ("a" * 201 + ".flac", "longer than 200 bytes"),
    ],
)
def test_names_that_cannot_be_utt_ids_are_one_line(tmp_path, manifest, name, reason):
    path = copy("alba_00", tmp_path / "mine" / "alba" / name)
    pattern = "{speaker}/{utterance}.flac"
    corpus = {"kind": "folder", "path": str(tmp_path / "mine"), "pattern": pattern}
    error = refusal(corpus, manifest)
    assert reason in error
    assert str(path.parent) in error
    assert len(error.splitlines()) == 1
    error.encode()


def test_repeated_utt_ids_are_named_with_both_places_but_not_for_pages(tmp_path, manifest):
    for number in range(30):
        copy("alba_00", tmp_path / "mine" / f"s{number:02d}" / "x.flac")
    corpus = {"kind": "folder", "path": f"{tmp_path}/mine", "pattern": "{speaker}/{utterance}.*"}
    lines = refusal(corpus, manifest).splitlines()
    assert lines[0] == (
        f"{tmp_path}/mine/s01/x.flac: repeated utt_id 'x', first at {tmp_path}/mine/s00/x.flac"
    )
    assert len(lines) == 21
    assert lines[-1] == "and 9 more"


def test_an_earlier_manifest_outlives_an_error(tmp_path, manifest):
    corpus = make_kaldi(tmp_path).options
    make_manifest(corpus, manifest)
    before = manifest.read_bytes()
    write(tmp_path / "data" / "utt2spk", ".d dmitri\n")
    write(tmp_path / "data" / "segments", ".d rec1 0 1\n")
    with pytest.raises(CorpusError):
        make_manifest(corpus, manifest)
    assert manifest.read_bytes() == before
    assert [path.name for path in manifest.parent.iterdir()] == ["train.tsv"]
