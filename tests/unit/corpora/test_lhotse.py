import gzip
import json

import lhotse
import pytest

from tests.support.corpora import (
    copy,
    demo_audio,
    make_lhotse,
    refusal,
    rows,
    write,
)
from xvectors.corpora.make_manifest import make_manifest


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


LHOTSE_ITEMS = [
    "mixed",
    "multi",
    "channel",
    "speed",
    "sources",
    "command",
    "supervision",
    "features",
    "outside",
    "empty",
    "other",
    "list",
]


@pytest.mark.parametrize("name", LHOTSE_ITEMS)
def test_a_bad_lhotse_line_is_a_one_line_error(tmp_path, manifest, name):
    item, message = lhotse_items(tmp_path)[name]
    item = item if isinstance(item, dict | list) else item.to_dict()
    good = lhotse.Recording.from_file(demo_audio("boris_00")).to_dict()
    path = write(tmp_path / "m.jsonl", f"{json.dumps(good)}\n\n{json.dumps(item)}\n")
    error = refusal({"kind": "lhotse", "path": str(path)}, manifest)
    assert error.startswith(f"{path}:3: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_manifest_that_is_one_json_list(tmp_path, manifest):
    corpus = make_lhotse(tmp_path)
    make_manifest(corpus.options, manifest)
    lines = gzip.decompress((tmp_path / "cuts.jsonl.gz").read_bytes()).decode().splitlines()
    whole = write(tmp_path / "cuts.json", f"[{', '.join(lines)}]")
    other = tmp_path / "other.tsv"
    make_manifest({"kind": "lhotse", "path": str(whole)}, other)
    assert other.read_bytes() == manifest.read_bytes()
    write(whole, f"[{lines[0]}, 5]")
    manifest.unlink()
    error = refusal({"kind": "lhotse", "path": str(whole)}, manifest)
    assert error.startswith(f"{whole}: item 2: not a lhotse recording or cut")
