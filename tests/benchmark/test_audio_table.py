"""The table of kinds and damages of audio, with a few of them."""

import shutil

import pytest

from tests.benchmark.audio_table import CHANGES, KINDS, rows

EXACT = ("WAV, 16 bits", "WAV into a pipe, sox", "FLAC", "FLAC into a pipe", "Vorbis", "AAC in MP4")
REFUSED = ("600 zeros in the middle", "cut in half")


def test_damages_are_of_kinds_that_there_are():
    for _, names in CHANGES.values():
        assert set(names) <= set(KINDS)


def test_a_few_kinds_come_out_as_ffmpeg_decodes_them(tmp_path):
    for tool in ("ffmpeg", "ffprobe", "sox", "flac", "oggenc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    _, _, *lines = rows(tmp_path, EXACT)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {name: rest for name, *rest in cells}
    assert set(EXACT) <= set(found)
    for name, (what, difference, further) in found.items():
        if name.endswith(REFUSED):
            assert what.startswith("refused: ")
        elif name == "Vorbis, twice in a row":
            assert what.startswith("10.0")
        else:
            assert what.startswith("5.0")
            assert float(difference) < 1e-6
            assert further == "+0"
