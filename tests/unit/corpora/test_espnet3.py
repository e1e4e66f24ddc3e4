import pytest

from tests.support.corpora import copy, refusal, write
from xvectors.corpora.make_manifest import make_manifest
from xvectors.errors import CorpusError


def test_an_espnet3_manifest_is_checked_and_never_overwritten(tmp_path, manifest):
    path = write(tmp_path / "train.tsv", "only\ttwo\n")
    corpus = {"kind": "espnet3", "path": str(path)}
    assert refusal(corpus, manifest).startswith(f"{path}:1: 2 columns")
    with pytest.raises(CorpusError, match="is the manifest to write"):
        make_manifest(corpus, path)
    assert path.read_text() == "only\ttwo\n"


def test_an_espnet3_manifest_with_seconds_and_segments_keeps_them(tmp_path, manifest):
    audio = copy("alba_00", tmp_path / "a.flac")
    lines = [f"a\t{audio}\tone\ts\tseconds=9", f"b\t{audio}\t\ts\tstart=1\tend=1.5"]
    path = write(tmp_path / "train.tsv", "\ufeff" + "\r\n".join(lines) + "\n\n")
    make_manifest({"kind": "espnet3", "path": str(path)}, manifest)
    assert manifest.read_text() == "\n".join(lines) + "\n"
