from urllib.parse import unquote, urljoin, urlsplit

import pytest

from xvectors.errors import ManifestError
from xvectors.report.recordings import find_recordings


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
