from xvectors.audio.versions import audio_version


def test_a_version_changes_with_size_and_with_time(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"1")
    first = audio_version(str(path))
    path.write_bytes(b"22")
    assert audio_version(str(path)) != first
    assert audio_version(str(tmp_path / "none")) is None
