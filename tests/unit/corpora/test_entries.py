import gzip
import os

import pytest

from tests.support.corpora import (
    make_lhotse,
    refusal,
    write,
)
from xvectors.corpora import entries
from xvectors.corpora.entries import (
    find_changed_folder,
    list_files,
    list_matches,
    read_lines,
    read_texts,
)


def test_a_cut_off_gzip_file_is_a_one_line_error(tmp_path, manifest):
    corpus = make_lhotse(tmp_path).options
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) * 50)[:-20])
    assert "cuts.jsonl.gz: cannot be read" in refusal(corpus, manifest)
    path.write_bytes(b"no gzip")
    assert "cuts.jsonl.gz: cannot be read: Not a gzipped file" in refusal(corpus, manifest)


def test_text_that_is_not_utf8_is_a_one_line_error(tmp_path, manifest):
    path = tmp_path / "LJSpeech" / "metadata.csv"
    write(path, "").write_bytes(b"a|\xff|\xff\n")
    error = refusal({"kind": "ljspeech", "path": str(path.parent)}, manifest)
    assert error == f"{path}: text that is not UTF-8"
    write(path, "a\n")
    error = refusal({"kind": "ljspeech", "path": str(path.parent)}, manifest)
    assert error.startswith(f"{path}:1: not an id")


def test_lines_come_with_their_places_and_without_blank_ones(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\n  \ntwo three \n".encode())
    assert list(read_lines(path)) == [(f"{path}:1", "one"), (f"{path}:4", "two three ")]
    zipped = tmp_path / "a.txt.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert [line for _, line in read_lines(zipped)] == ["one", "two three "]


def test_a_text_that_is_not_there_is_empty(tmp_path):
    there = write(tmp_path / "a.txt", "first\n\nsecond\n")
    assert read_texts([there, tmp_path / "none.txt"]) == ["first\nsecond", ""]


def test_files_at_any_depth_sorted_without_hidden_ones(tmp_path):
    for name in ("b/2.wav", "a/x/1.wav", "a/._1.wav", "3.wav"):
        write(tmp_path / "corpus" / name, "")
    write(tmp_path / "elsewhere" / "4.wav", "")
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "elsewhere")
    found = [
        path.relative_to(tmp_path / "corpus").as_posix() for path in list_files(tmp_path / "corpus")
    ]
    assert found == ["3.wav", "a/x/1.wav", "b/2.wav", "link/4.wav"]
    matches = list_matches(tmp_path / "corpus", "*/*.wav")
    assert [path.name for path in matches] == ["2.wav", "4.wav"]
    with pytest.raises(FileNotFoundError):
        list_files(tmp_path / "none")


MADE, LATER = 1_000_000_000, 1_000_000_001


@pytest.fixture
def mine(tmp_path):
    """Folders ``a``, ``a/b`` and ``c``, older than the time `MADE`."""
    for folder in ("a/b", "c"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    for path in [tmp_path / "mine", *(tmp_path / "mine").rglob("*")]:
        os.utime(path, ns=(MADE, MADE))
    return tmp_path / "mine"


def test_a_folder_that_has_changed_since_a_time(mine):
    assert find_changed_folder(mine, MADE, ()) is None
    os.utime(mine / "a" / "b", ns=(LATER, LATER))
    assert find_changed_folder(mine, MADE, ()) == mine / "a" / "b"
    os.utime(mine / "c", ns=(LATER, LATER))
    assert find_changed_folder(mine, MADE, ()) == mine / "c"
    os.utime(mine, ns=(LATER, LATER))
    assert find_changed_folder(mine, MADE, ()) == mine
    assert find_changed_folder(mine, LATER, ()) is None


def test_the_search_for_a_changed_folder_ends(mine, monkeypatch):
    (mine / "a" / "b" / "loop").symlink_to(mine)
    for path in (mine / "a" / "b", mine):
        os.utime(path, ns=(MADE, MADE))
    assert find_changed_folder(mine, MADE, ()) is None
    os.utime(mine / "a" / "b", ns=(LATER, LATER))
    monkeypatch.setattr(entries, "MAX_NAMES_SEARCHED", 2)
    assert find_changed_folder(mine, MADE, ()) is None


def test_folders_that_runs_write_to_have_not_changed(mine):
    for path in (mine / "a" / "b", mine / "a", mine):
        os.utime(path, ns=(LATER, LATER))
    assert find_changed_folder(mine, MADE, [mine / "a"]) is None
    assert find_changed_folder(mine, MADE, [mine / "a" / "train.tsv"]) == mine / "a" / "b"
