import os
import unicodedata

import pytest

from xvectors.audio.versions import AudioVersions, audio_version, check_audio, content_hash
from xvectors.errors import UtteranceError


def test_a_version_changes_with_size_and_with_time(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"1")
    first = audio_version(str(path))
    path.write_bytes(b"22")
    assert audio_version(str(path)) != first
    assert audio_version(str(tmp_path / "none")) is None


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_the_other_unicode_form_is_named(tmp_path, form, other):
    (tmp_path / unicodedata.normalize(other, "josé.wav")).touch()
    path = tmp_path / unicodedata.normalize(form, "josé.wav")
    with pytest.raises(UtteranceError, match=r"another Unicode form: .*wav"):
        check_audio(str(path))


def test_a_range_of_kaldis_is_named():
    with pytest.raises(
        UtteranceError, match=r"^file missing: a.ark:5\[0:9\]; ranges \(\[0:9\]\) are"
    ):
        check_audio("a.ark:5[0:9]")


def test_a_member_has_the_version_of_its_container(tmp_path):
    tar = tmp_path / "a.tar"
    tar.write_bytes(b"0123456789")
    member = f"{tar}:2+3"
    assert audio_version(member) == audio_version(str(tar))
    version, content = content_hash(member)
    assert version == audio_version(str(tar))
    (tmp_path / "plain").write_bytes(b"234")
    assert content_hash(str(tmp_path / "plain"))[1] == content
    os.utime(tar, ns=(0, 0))
    assert audio_version(member).mtime_ns == 0
    assert content_hash(member)[1] == content
    tar.write_bytes(b"012345678x")
    assert content_hash(member)[1] == content
    tar.write_bytes(b"01x3456789")
    assert content_hash(member)[1] != content
    assert audio_version(f"{tmp_path}/none.tar:2+3") is None


def test_a_container_is_asked_once(tmp_path, monkeypatch):
    for name in ("a.tar", "b.wav", "a.tar:7"):
        (tmp_path / name).write_bytes(name.encode())
    paths = [f"{tmp_path}/a.tar:{i}+1" for i in range(1000)]
    paths += [f"{tmp_path}/{name}" for name in ("b.wav", "a.tar:7", "none.tar:3", "a.tar")]
    expected = [audio_version(path) for path in paths]
    asked = []
    stat = os.stat
    monkeypatch.setattr(
        "os.stat", lambda path, **kwargs: asked.append(path) or stat(path, **kwargs)
    )
    versions = AudioVersions()
    assert [versions.of(path) for path in paths] == expected
    assert len(asked) < 20
    assert expected[-3] == audio_version(f"{tmp_path}/a.tar:7") != expected[0]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    (tmp_path / "a.tar:7").write_bytes(b"plain")
    (tmp_path / "a.tar").write_bytes(b"container")

    def refuse(_):
        raise PermissionError

    monkeypatch.setattr("os.listdir", refuse)
    assert AudioVersions().of(f"{tmp_path}/a.tar:7").size == len(b"plain")
