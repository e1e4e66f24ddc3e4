import json
from dataclasses import replace

import pytest

from xvectors.audio.signal import Decoded, Segment
from xvectors.audio.versions import AudioVersion
from xvectors.storage.provenance import (
    EmbeddingSource,
    Provenance,
    Standing,
    compare,
    digest_of,
)

MADE_BY = {"precision": "fp32", "encoder": "abc"}
CONTENT = "0123456789abcdef" * 2
MADE = Provenance(MADE_BY, "ä b.wav", None, AudioVersion(1, 2), CONTENT)


def test_provenance_is_readable():
    assert json.loads(MADE.encode()) == {
        "encoder": "abc",
        "precision": "fp32",
        "wav_path": "ä b.wav",
        "size": 1,
        "mtime_ns": 2,
        "content": CONTENT,
    }
    segment = json.loads(replace(MADE, segment=Segment(0.5, 1)).encode())
    assert (segment["start"], segment["end"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("wanted", "standing"),
    [
        (MADE, Standing.CURRENT),
        (replace(MADE, content=None), Standing.CURRENT),
        (replace(MADE, wav_path="other.wav"), Standing.MOVED),
        (replace(MADE, audio=AudioVersion(1, 3)), Standing.MOVED),
        (replace(MADE, audio=AudioVersion(2, 2)), Standing.STALE),
        (replace(MADE, audio=None), Standing.GONE),
        (replace(MADE, audio=None, wav_path="other.wav"), Standing.GONE),
        (replace(MADE, made_by=MADE_BY | {"encoder": "other"}), Standing.STALE),
        (replace(MADE, made_by=MADE_BY | {"encoder": None}), Standing.STALE),
        (replace(MADE, made_by=MADE_BY | {"precision": "bf16"}), Standing.STALE),
        (replace(MADE, made_by=MADE_BY | {"encoder": "other"}, audio=None), Standing.STALE),
        (replace(MADE, segment=Segment(0, 1)), Standing.STALE),
    ],
)
def test_an_embedding_is_compared_with_what_would_be_made(wanted, standing):
    assert compare(digest_of(MADE.encode()), wanted.digest()) is standing


def test_without_a_hash_of_the_content_an_embedding_is_current_where_it_was_and_stale_elsewhere():
    found = digest_of(replace(MADE, content=None).encode())
    assert compare(found, MADE.digest()) is Standing.CURRENT
    assert compare(found, replace(MADE, wav_path="other.wav").digest()) is Standing.STALE
    assert compare(found, replace(MADE, audio=None).digest()) is Standing.GONE


def test_another_comment_is_compared_too():
    for comment in (b"another's comment", b"[1]", b'{"size": "large"}', b'{"content": "no hash"}'):
        found = digest_of(comment)
        assert found is None or compare(found, MADE.digest()) is Standing.STALE


def test_the_fingerprint_is_asked_for_once():
    asked = []

    def read_fingerprint():
        asked.append(1)
        return "abc"

    source = EmbeddingSource({"precision": "fp32"}, read_fingerprint, ["a", "b"], [None] * 2)
    assert not asked
    provenances = [source.provenance(index) for index in (0, 1)]
    assert provenances == [Provenance(MADE_BY, "a"), Provenance(MADE_BY, "b")]
    assert len(asked) == 1


def test_decoded_facts_are_kept_and_decide_nothing():
    with_facts = replace(MADE, decoded=Decoded(4.25, True))
    found = digest_of(with_facts.encode())
    assert found == with_facts.digest()
    assert found.decoded == Decoded(4.25, True)
    assert compare(found, MADE.digest()) is Standing.CURRENT
    assert digest_of(MADE.encode()).decoded is None


def test_seconds_of_speech_are_there_only_where_a_detector_has_looked():
    without = replace(MADE, decoded=Decoded(4.25))
    assert b"speech" not in without.encode()
    found = digest_of(replace(MADE, decoded=Decoded(4.25, False, 3.5)).encode())
    assert found.decoded == Decoded(4.25, False, 3.5)
    assert compare(found, without.digest()) is Standing.CURRENT
