import unicodedata

import pytest

from xvectors.audio.versions import audio_version, check_audio
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
