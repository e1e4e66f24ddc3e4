import logging
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pytest
import soundfile

from xvectors.errors import ManifestError
from xvectors.report import recordings
from xvectors.report.recordings import cut_clips, find_recordings


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "corpus").mkdir()
    lines = [
        "whole\twavs/a #1 ü%.wav\ttext\tanna",
        "part\twavs/call.flac\ttext\tanna\tstart=1.5\tend=3",
        f"absolute\t{tmp_path}/other.wav\ttext\tanna",
        "member\twavs.tar:1536+24000\ttext\tanna",
        "row\ttrain.parquet:audio[7]\ttext\tanna",
        "another\tx.wav\ttext\tben",
    ]
    path = tmp_path / "corpus" / "train.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_links_are_relative_to_the_page_and_absolute(manifest, tmp_path):
    folder = tmp_path / "x_vectors" / "tag"
    wanted = {"whole", "part", "absolute", "member", "row", "missing"}
    found = find_recordings(manifest, wanted, folder)
    assert found.keys() == wanted - {"missing"}
    assert found["whole"].path == "wavs/a #1 ü%.wav"
    for name, file in (("whole", "corpus/wavs/a #1 ü%.wav"), ("absolute", "other.wav")):
        relative, absolute = found[name].links
        assert not relative.startswith("/")
        page = (folder / "page.html").as_uri()
        for link in (urljoin(page, relative), absolute):
            assert unquote(urlsplit(link).path) == str(tmp_path / file)
            assert urlsplit(link).scheme == "file"


def test_a_segment_is_a_part_of_its_file(manifest, tmp_path):
    (part,) = find_recordings(manifest, ["part"], tmp_path).values()
    assert part.links[0] == "corpus/wavs/call.flac#t=1.500,3.000"
    assert part.links[1].endswith("/corpus/wavs/call.flac#t=1.500,3.000")


def test_audio_in_containers_has_no_links(manifest, tmp_path):
    found = find_recordings(manifest, ["member", "row"], tmp_path)
    assert [one.links for one in found.values()] == [(), ()]
    (tmp_path / "corpus" / "wavs.tar:1536+24000").touch()
    (file,) = find_recordings(manifest, ["member"], tmp_path).values()
    assert file.links[0] == "corpus/wavs.tar%3A1536%2B24000"


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"train\.tsv: cannot be read"):
        find_recordings(tmp_path / "train.tsv", ["a"], tmp_path)


def test_clips_are_cut_until_there_are_enough(manifest, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "corpus" / "wavs").mkdir()
    for name in ("corpus/wavs/call.flac", "other.wav", "corpus/x.wav"):
        soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 48000), 16000)
    found = find_recordings(manifest, ["whole", "part", "absolute", "another"], tmp_path)
    wanted = ["part", "whole", "unknown", "absolute", "part", "another"]
    clips = cut_clips(found, wanted)
    assert list(clips) == ["part", "absolute", "another"]
    assert len(clips["part"]) < len(clips["absolute"])
    assert "whole: no clip for the page: " in caplog.text
    room = len(clips["part"]) + len(clips["absolute"])
    monkeypatch.setattr(recordings, "MAX_CLIP_BYTES", room)
    assert list(cut_clips(found, wanted)) == ["part", "absolute"]
