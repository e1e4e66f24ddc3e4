import gzip
import json
from pathlib import Path
from typing import get_args

import lhotse
import pytest
import soundfile

from tests.support.corpora import (
    MAKERS,
    copy,
    demo_audio,
    make_kaldi,
    make_lhotse,
    make_libritts,
    make_vctk,
    write,
)
from xvectors.config.settings import Corpus
from xvectors.corpora.kinds import READERS, options_of
from xvectors.corpora.make_manifest import make_manifest
from xvectors.errors import CorpusError, XVectorsError
from xvectors.manifest.reading import read_manifest


@pytest.fixture
def manifest(tmp_path):
    """The manifest to be made, in a folder that is not there yet."""
    return tmp_path / "manifests" / "train.tsv"


def rows(manifest):
    return [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]


def refusal(corpus, manifest):
    """Return the error of a corpus that is refused, which leaves no manifest."""
    with pytest.raises(XVectorsError) as error:
        make_manifest(corpus, manifest)
    assert not manifest.exists()
    assert not manifest.parent.exists() or list(manifest.parent.iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_manifest_of_every_kind_of_corpus(tmp_path, manifest, kind):
    corpus = MAKERS[kind](tmp_path)
    make_manifest(corpus.options, manifest)
    read = read_manifest(manifest).utterances
    assert [utterance.utt_id for utterance in read] == [want.utt_id for want in corpus.utterances]
    for row, utterance, want in zip(rows(manifest), read, corpus.utterances, strict=True):
        audio = demo_audio(want.recording)
        assert row[1].startswith("/")
        assert (row[2], row[3]) == (want.text, want.speaker_id)
        assert Path(row[1]).read_bytes() == audio.read_bytes()
        if want.segment is None:
            assert len(row) == 5
            assert utterance.seconds == pytest.approx(soundfile.info(audio).duration, abs=1e-6)
        else:
            start, end = want.segment
            assert utterance.seconds == pytest.approx(end - start, abs=2e-6)
            assert [field.split("=")[0] for field in row[4:]] == ["start", "end"]
            found = [float(field.split("=")[1]) for field in row[4:]]
            assert found == pytest.approx([start, end], abs=1e-6)


def test_every_kind_is_in_the_schema_with_its_options():
    fields = Corpus.model_fields
    assert list(get_args(fields["kind"].annotation)) == list(READERS) == list(MAKERS)
    options = {name for kind in READERS for name in options_of(kind)}
    assert options == set(fields) - {"kind"}


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


def test_kaldi_with_recordings_alone(tmp_path, manifest):
    audio = copy("boris_00", tmp_path / "a.wav")
    write(tmp_path / "wav.scp", f"u1 {audio}\nu2 sph2pipe -f wav -p {audio} |\nu3 cat {audio}|\n")
    make_manifest({"kind": "kaldi", "path": str(tmp_path)}, manifest)
    assert [(row[0], row[1], row[3]) for row in rows(manifest)] == [
        (utt_id, str(audio), utt_id) for utt_id in ("u1", "u2", "u3")
    ]


def test_lhotse_recordings(tmp_path, manifest):
    recording = lhotse.Recording.from_file(copy("edith_02", tmp_path / "stereo.flac"))
    recording.sources[0].source = "stereo.flac"
    path = tmp_path / "recordings.jsonl"
    lhotse.RecordingSet.from_recordings([recording]).to_file(path)
    make_manifest({"kind": "lhotse", "path": str(path), "root": str(tmp_path)}, manifest)
    ((utt_id, wav, _, speaker, seconds),) = rows(manifest)
    assert (utt_id, wav, speaker) == ("stereo", str(tmp_path / "stereo.flac"), "stereo")
    assert float(seconds.removeprefix("seconds=")) == pytest.approx(recording.duration, abs=1e-6)


def test_segments_are_those_of_lhotse(tmp_path, manifest):
    """Where lhotse itself can trim a cut to its supervisions, without overlap."""
    recording = lhotse.Recording.from_file(copy("hugo_01", tmp_path / "h.wav"))
    parts = [
        lhotse.SupervisionSegment("s1", recording.id, 0.1, 0.5, speaker="a"),
        lhotse.SupervisionSegment("s2", recording.id, 0.75, 0.7, speaker="b"),
    ]
    cuts = lhotse.CutSet.from_cuts([lhotse.MonoCut("a", 0.3, 1.5, 0, parts, recording=recording)])
    cuts.to_file(tmp_path / "cuts.jsonl")
    make_manifest({"kind": "lhotse", "path": str(tmp_path / "cuts.jsonl")}, manifest)
    trimmed = list(cuts.trim_to_supervisions())
    assert [row[0] for row in rows(manifest)] == [cut.id for cut in trimmed]
    found = [[float(field.split("=")[1]) for field in row[4:]] for row in rows(manifest)]
    # lhotse rounds the cut's and the supervision's times to samples.
    samples = 2 / recording.sampling_rate
    assert found == [pytest.approx([cut.start, cut.end], abs=samples) for cut in trimmed]


def test_a_supervision_reaches_no_further_than_its_cut(tmp_path, manifest):
    recording = lhotse.Recording.from_file(copy("hugo_01", tmp_path / "h.wav"))
    part = lhotse.SupervisionSegment("s", recording.id, -0.125, 9.0, speaker="a")
    cut = lhotse.MonoCut("c", 0.25, 1.5, 0, [part], recording=recording)
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    make_manifest({"kind": "lhotse", "path": str(tmp_path / "cuts.jsonl")}, manifest)
    assert [row[4:] for row in rows(manifest)] == [["start=0.25", "end=1.75"]]


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


BAD_KALDI = [
    ({"wav.scp": "rec1 sox audio/one.flac -t wav - |\n"}, "wav.scp:1: commands are not run (sox"),
    ({"wav.scp": "rec1 flac -dc a.flac | sox - |\n"}, "wav.scp:1: commands are not run"),
    ({"wav.scp": "rec1 cat 'audio |\n"}, "wav.scp:1: commands are not run"),
    ({"wav.scp": "rec1 wav.ark:17\n"}, "wav.scp:1: wav.ark:17 is in an archive"),
    ({"wav.scp": "rec1\n"}, "wav.scp:1: no path"),
    ({"wav.scp": "a x.wav\na y.wav\n"}, "wav.scp:2: repeated a, first at"),
    ({"segments": ""}, "no utterance found (Kaldi: the data folder with wav.scp"),
    ({"wav.scp": None}, "wav.scp: cannot be read: No such file"),
    ({"segments": "d-1 rec1 0 1 A\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1 rec1 x 1\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1 rec9 0 1\n"}, "segments:1: rec9 is not in"),
    ({"segments": "d-1 rec1 2 1\n"}, "segments:1: start=2 and end=1: the end must"),
    ({"segments": "d-1 rec1 0 -1\n", "wav.scp": "rec1 no.wav\n"}, "segments:1: cannot tell where"),
    ({"segments": "d-1 rec1 0 1\nd-1 rec1 1 2\n"}, "segments:2: repeated utt_id 'd-1', first at"),
    ({"segments": ".d rec1 0 1\n", "utt2spk": ".d s\n"}, "segments:1: utt_id '.d' starts with"),
    ({"utt2spk": "d-1 dmitri\n"}, "segments:2: d-2 is not in"),
    ({"wav.scp": "rec1 no.wav\nrec2 no.wav\n", "segments": "d-1 rec1 0 1\n"}, "has an audio file"),
]


@pytest.mark.parametrize(("files", "message"), BAD_KALDI)
def test_a_bad_kaldi_folder_is_one_line(tmp_path, manifest, files, message):
    corpus = make_kaldi(tmp_path).options
    for name, content in files.items():
        if content is None:
            (tmp_path / "data" / name).unlink()
        else:
            write(tmp_path / "data" / name, content)
    error = refusal(corpus, manifest)
    assert message in error
    assert str(tmp_path / "data") in error
    assert len(error.splitlines()) == 1


def lhotse_items(tmp_path):
    recording = lhotse.Recording.from_file(copy("hugo_01", tmp_path / "h.wav"))
    stereo = lhotse.Recording.from_file(copy("edith_02", tmp_path / "e.flac"))
    cut = recording.to_cut()
    supervision = lhotse.SupervisionSegment("s", recording.id, 0, 1)
    both = lhotse.Recording.from_dict(
        recording.to_dict() | {"sources": recording.to_dict()["sources"] * 2}
    )
    command = recording.to_dict()
    command["sources"][0]["type"] = "command"
    outside = lhotse.SupervisionSegment("s", recording.id, 5, 1)
    return {
        "mixed": (cut.pad(9), "is a MixedCut; only MonoCuts"),
        "multi": (stereo.to_cut(), "is a MultiCut; only MonoCuts"),
        "channel": (stereo.to_cut().to_mono()[1], "is one of several channels of e"),
        "speed": (recording.perturb_speed(1.1), "h_sp1.1 is transformed (Speed)"),
        "sources": (both, "h has several files"),
        "command": (command, "h is a command, not a file"),
        "supervision": (supervision, "a supervision; make cuts"),
        "features": (cut.to_dict() | {"recording": None}, "h has no recording"),
        "outside": (
            lhotse.MonoCut("a", 0, 1, 0, [outside], recording=recording),
            "start=5 and end=1: the end must come after the start",
        ),
        "empty": (cut.to_dict() | {"recording": {"sources": []}}, "not a lhotse recording or cut"),
        "other": ({"text": "hello"}, "not a lhotse recording or cut"),
        "list": ([], "not a lhotse recording or cut"),
    }


LHOTSE_ITEMS = ["mixed", "multi", "channel", "speed", "sources", "command", "supervision"]


LHOTSE_ITEMS += ["features", "outside", "empty", "other", "list"]


@pytest.mark.parametrize("name", LHOTSE_ITEMS)
def test_a_bad_lhotse_line_is_one_line(tmp_path, manifest, name):
    item, message = lhotse_items(tmp_path)[name]
    item = item if isinstance(item, dict | list) else item.to_dict()
    good = lhotse.Recording.from_file(demo_audio("boris_00")).to_dict()
    path = write(tmp_path / "m.jsonl", f"{json.dumps(good)}\n\n{json.dumps(item)}\n")
    error = refusal({"kind": "lhotse", "path": str(path)}, manifest)
    assert error.startswith(f"{path}:3: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_cut_off_gzip_file_is_one_line(tmp_path, manifest):
    corpus = make_lhotse(tmp_path).options
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) * 50)[:-20])
    assert "cuts.jsonl.gz: cannot be read" in refusal(corpus, manifest)
    path.write_bytes(b"no gzip")
    assert "cuts.jsonl.gz: cannot be read: Not a gzipped file" in refusal(corpus, manifest)


def test_text_that_is_not_utf8_is_one_line(tmp_path, manifest):
    path = tmp_path / "LJSpeech" / "metadata.csv"
    write(path, "").write_bytes(b"a|\xff|\xff\n")
    error = refusal({"kind": "ljspeech", "path": str(path.parent)}, manifest)
    assert error == f"{path}: text that is not UTF-8"
    write(path, "a\n")
    error = refusal({"kind": "ljspeech", "path": str(path.parent)}, manifest)
    assert error.startswith(f"{path}:1: not an id")


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


def test_an_espnet3_manifest_is_checked_and_never_overwritten(tmp_path, manifest):
    path = write(tmp_path / "train.tsv", "only\ttwo\n")
    corpus = {"kind": "espnet3", "path": str(path)}
    assert refusal(corpus, manifest).startswith(f"{path}:1: 2 columns")
    with pytest.raises(CorpusError, match="is the manifest to be written"):
        make_manifest(corpus, path)
    assert path.read_text() == "only\ttwo\n"


def test_an_espnet3_manifest_with_seconds_and_segments_keeps_them(tmp_path, manifest):
    audio = copy("alba_00", tmp_path / "a.flac")
    lines = [f"a\t{audio}\tone\ts\tseconds=9", f"b\t{audio}\t\ts\tstart=1\tend=1.5"]
    path = write(tmp_path / "train.tsv", "\ufeff" + "\r\n".join(lines) + "\n\n")
    make_manifest({"kind": "espnet3", "path": str(path)}, manifest)
    assert manifest.read_text() == "\n".join(lines) + "\n"


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
