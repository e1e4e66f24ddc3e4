import json
from dataclasses import replace

import pytest

from xvectors.audio.signal import Segment
from xvectors.audio.versions import AudioVersion
from xvectors.storage.provenance import EmbeddingSource, is_same_but_audio

AUDIO = AudioVersion(1, 2)


ORIGIN = EmbeddingSource({"precision": "fp32"}, "abc", ["ä b.wav"], [None])


@pytest.mark.parametrize(
    ("origin", "audio"),
    [
        (replace(ORIGIN, fingerprint="other"), AUDIO),
        (replace(ORIGIN, fingerprint=None), AUDIO),
        (replace(ORIGIN, wav_paths=["other.wav"]), AUDIO),
        (replace(ORIGIN, segments=[Segment(0, 1)]), AUDIO),
        (replace(ORIGIN, numerics={"precision": "bf16"}), AUDIO),
        (ORIGIN, AudioVersion(1, 3)),
        (ORIGIN, AudioVersion(2, 2)),
        (ORIGIN, None),
    ],
)
def test_whatever_changes_a_vector_changes_its_provenance(origin, audio):
    assert origin.provenance(0, audio) != ORIGIN.provenance(0, AUDIO)


def test_provenance_is_readable():
    provenance = json.loads(ORIGIN.provenance(0, AUDIO))
    assert provenance == {
        "encoder": "abc",
        "precision": "fp32",
        "wav_path": "ä b.wav",
        "size": 1,
        "mtime_ns": 2,
    }


def test_what_differs_in_the_audio_only():
    provenance = ORIGIN.provenance(0, AUDIO)
    assert is_same_but_audio(ORIGIN.provenance(0, None), provenance)
    assert not is_same_but_audio(replace(ORIGIN, fingerprint="x").provenance(0, AUDIO), provenance)
    assert not is_same_but_audio(None, provenance)
    assert not is_same_but_audio(b"another's comment", provenance)
