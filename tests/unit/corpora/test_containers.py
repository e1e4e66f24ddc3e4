import tarfile

import pytest

from tests.support.corpora import add
from xvectors.audio.containers import ByteRange
from xvectors.corpora import containers
from xvectors.corpora.containers import Tar, find_containers, read_containers
from xvectors.errors import CorpusError


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "a.wav", b"1234")
        add(tar, "a/" + "long" * 50 + ".wav", b"567")
        add(tar, "b.json", b'{"a": 1}')
    return path


def test_the_members_of_a_tar(tar):
    with Tar(tar) as opened:
        first, long, metadata = opened.members()
        assert opened.problem is None
        assert opened.read_json(metadata) == {"a": 1}
        assert opened.read_text(first) == "1234"
    assert (first.name, long.name[:6]) == ("a.wav", "a/long")
    for member, content in ((first, b"1234"), (long, b"567")):
        assert member.place.container == str(tar)
        start = member.place.offset
        assert tar.read_bytes()[start : start + member.place.size] == content


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_members_are_those_of_tarfile(tmp_path, form):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for name in ("a.wav", "ü b.wav", "n" * 100, f"{'p' * 99}/{'n' * 99}", "n" * 99 + "\udcff"):
            add(tar, name, name.encode(errors="replace"))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    with Tar(path) as opened, tarfile.open(path) as tar:
        expected = [(one.name, one.offset_data, one.size) for one in tar if one.isreg()]
        found = list(opened.members())
    assert [(name, place.offset, place.size) for name, place in found] == expected
    assert len(expected) == 5
    assert opened.problem is None


def test_a_link_is_no_member(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("b.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "a.wav"
        tar.addfile(link)
    with Tar(path) as opened:
        assert list(opened.members()) == []


def test_a_tar_that_ends_early_keeps_what_it_has(tar):
    content = tar.read_bytes()
    tar.write_bytes(content[: 512 + 3])
    with Tar(tar) as opened:
        (member,) = opened.members()
    assert member.place == ByteRange(str(tar), 512, 4)
    assert opened.problem.startswith("a tar that ends early")
    tar.write_bytes(content[:1024])
    with Tar(tar) as opened:
        assert len(list(opened.members())) == 1
    assert opened.problem is not None


def test_a_damaged_header_is_told(tar):
    content = bytearray(tar.read_bytes())
    content[1024 : 1024 + 512] = b"x" * 512
    tar.write_bytes(content)
    with Tar(tar) as opened:
        assert len(list(opened.members())) == 1
    assert opened.problem == "a tar with a damaged header at byte 1024"


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + b"x" * 2000, b"text" * 500])
def test_what_is_not_a_tar(tar, content):
    tar.write_bytes(content)
    with pytest.raises(CorpusError, match=f"^{tar}: not a tar, or compressed"):
        Tar(tar)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "is not JSON"), (b"[1]", "is not a JSON object"), (b"\xff", "is not JSON")],
)
def test_metadata_that_cannot_be_read(tmp_path, monkeypatch, content, reason):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "a.json", content)
    with Tar(path) as opened:
        (member,) = opened.members()
        with pytest.raises(CorpusError, match=f"^{path}: a.json {reason}"):
            opened.read_json(member)
        monkeypatch.setattr(containers, "MAX_METADATA_BYTES", 0)
        with pytest.raises(CorpusError, match="too large for metadata"):
            opened.read(member)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "a.txt", b"\xff")
    with Tar(path) as opened, pytest.raises(CorpusError, match=r"a.txt is text that is not UTF-8"):
        opened.read_text(next(opened.members()))


def test_containers_are_found_by_a_pattern(tmp_path):
    for name in ("b.tar", "x/a.tar", "x/y/c.tar", "x/d.txt", ".hidden.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern):
        return [str(path.relative_to(tmp_path)) for path in find_containers(tmp_path, pattern)]

    assert found("**/*.tar") == ["b.tar", "x/a.tar", "x/y/c.tar"]
    assert found("x/*.tar") == ["x/a.tar"]
    assert find_containers(tmp_path / "b.tar", "nothing") == [tmp_path / "b.tar"]
    with pytest.raises(CorpusError, match=r"none of its 4 files matches the pattern EN/\*\.tar$"):
        find_containers(tmp_path, "EN/*.tar")


def test_containers_are_read_in_order_with_progress(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(containers, "SECONDS_BETWEEN_LINES", 0)
    paths = [tmp_path / str(i) for i in range(5)]
    with caplog.at_level("INFO"):
        assert list(read_containers(paths, lambda path: [path.name, "x"])) == [
            found for path in paths for found in (path.name, "x")
        ]
    assert "5 of 5 files are listed" in caplog.text
