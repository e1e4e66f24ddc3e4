import pytest

from tests.support.corpora import (
    copy,
    make_kaldi,
    refusal,
    rows,
    write,
)
from xvectors.corpora.make_manifest import make_manifest


def test_kaldi_with_recordings_alone(tmp_path, manifest):
    audio = copy("boris_00", tmp_path / "a.wav")
    write(tmp_path / "wav.scp", f"u1 {audio}\nu2 sph2pipe -f wav -p {audio} |\nu3 cat {audio}|\n")
    make_manifest({"kind": "kaldi", "path": str(tmp_path)}, manifest)
    assert [(row[0], row[1], row[3]) for row in rows(manifest)] == [
        (utt_id, str(audio), utt_id) for utt_id in ("u1", "u2", "u3")
    ]


BAD_KALDI = [
    ({"wav.scp": "rec1 sox audio/one.flac -t wav - |\n"}, "wav.scp:1: commands are not run (sox"),
    ({"wav.scp": "rec1 flac -dc a.flac | sox - |\n"}, "wav.scp:1: commands are not run"),
    ({"wav.scp": "rec1 cat 'audio |\n"}, "wav.scp:1: commands are not run"),
    ({"wav.scp": "rec1 a.ark:9[0:99]\n"}, "wav.scp:1: a range ([0:99]) of a recording, which"),
    ({"wav.scp": "rec1 cat a.wav |[0:9,:]\n"}, "wav.scp:1: a range ([0:9,:]) of a recording"),
    ({"wav.scp": "rec1\n"}, "wav.scp:1: no path"),
    ({"wav.scp": "a x.wav\na y.wav\n"}, "wav.scp:2: repeated a, first at"),
    ({"segments": ""}, "no utterance found (Kaldi: the data folder with wav.scp"),
    ({"wav.scp": None}, "wav.scp: cannot be read: No such file"),
    ({"segments": "d-1 rec1 0\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1 rec1 x 1\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1\n"}, "segments:1: not utt_id, recording, start and end"),
    ({"segments": "d-1 rec9 0 1\n"}, "segments:1: rec9 is not in"),
    ({"segments": "d-1 rec1 2 1\n"}, "left out 1: a segment that does not end after its start"),
    ({"segments": "d-1 rec1 0 -1\n", "wav.scp": "rec1 no.wav\n"}, "segments:1: cannot tell where"),
    ({"segments": "d-1 rec1 0 1\nd-1 rec1 1 2\n"}, "segments:2: repeated utt_id 'd-1', first at"),
    ({"segments": ".d rec1 0 1\n", "utt2spk": ".d s\n"}, "segments:1: utt_id '.d' starts with"),
    ({"utt2spk": "d-1 dmitri\n"}, "segments:2: d-2 is not in"),
    ({"wav.scp": "rec1 no.wav\nrec2 no.wav\n", "segments": "d-1 rec1 0 1\n"}, "has an audio file"),
]


@pytest.mark.parametrize(("files", "message"), BAD_KALDI)
def test_a_bad_kaldi_folder_is_a_one_line_error(tmp_path, manifest, files, message):
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


def test_a_bad_segment_fails_alone(tmp_path, manifest, caplog):
    corpus = make_kaldi(tmp_path)
    segments = tmp_path / "data" / "segments"
    segments.write_text(segments.read_text() + "x-1 rec1 -0.01 2\nx-2 rec1 2 1\n")
    speakers = tmp_path / "data" / "utt2spk"
    speakers.write_text(speakers.read_text() + "x-1 x\nx-2 x\n")
    make_manifest(corpus.options, manifest)
    assert [row[0] for row in rows(manifest)] == [want.utt_id for want in corpus.utterances]
    assert f"left out 1: a segment that starts before 0 (the first is {segments}:4)" in caplog.text
    assert "left out 1: a segment that does not end after its start" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "rec1 audio/one.flac audio/one.flac",
            "several files for one recording (audio/one.flac, audio/one.flac)",
        ),
        ("rec1 audio/one.flac 1", "has a channel column (1), which is not read"),
    ],
)
def test_further_columns_of_wav_scp_are_named(tmp_path, manifest, content, reason):
    corpus = make_kaldi(tmp_path)
    write(tmp_path / "data" / "wav.scp", f"{content}\nrec2 audio/of two.flac\n")
    error = refusal(corpus.options, manifest)
    assert error.startswith(f"{tmp_path}/data/wav.scp:1: {reason}")


def test_a_channel_column_of_segments_is_named(tmp_path, manifest):
    corpus = make_kaldi(tmp_path)
    write(tmp_path / "data" / "segments", "d-1 rec1 0.5 1.75 A\n")
    assert "segments:1: has a channel column, which is not read" in refusal(
        corpus.options, manifest
    )
