"""Provenance: what made an embedding, kept inside the embedding's own file.

An embedding is current when its provenance equals what would make it today. The provenance is one
line of JSON in the comment of the ``.pt`` file's zip container, which ``torch.load`` ignores. So
it is written, moved and lost together with the vector, and a file that was cut short has none.
Files of another kind, which a custom runner may leave, have a hidden file beside them that holds
it.

Part of it is a hash of the audio file's content. If an audio file has another path or time than
before but the same content, its embedding only needs a new provenance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

from xvectors.audio.signal import Decoded, Segment
from xvectors.audio.versions import AudioVersion
from xvectors.files.json_text import canonical_json, parse_json

CONTENT = "content"
# The entries that change when an audio file moves.
PLACE = ("wav_path", "mtime_ns")
NO_SIZE = -1
NO_CONTENT = bytes(16)


class ProvenanceDigest(NamedTuple):
    """A provenance in a few bytes.

    `how` is a hash of everything but the audio file, `version` one of everything but its content;
    `size` is the file's size in bytes, `content` a hash of its content. Where they are not known
    they are `NO_SIZE` and `NO_CONTENT`. `decoded` decides nothing; it is in neither hash.
    """

    how: bytes
    version: bytes
    size: int = NO_SIZE
    content: bytes = NO_CONTENT
    decoded: Decoded | None = None


class Standing(IntEnum):
    """The relation of a stored embedding to today's audio file and configuration.

    CURRENT: It is what would be made today.
    MOVED: It is, provided that the audio file's content is as before.
    GONE: It was made in the same way, but the audio file cannot be asked.
    STALE: It was made in another way, or of other audio.
    MISSING: There is none.
    """

    MISSING = 0
    STALE = 1
    GONE = 2
    MOVED = 3
    CURRENT = 4


@dataclass(frozen=True)
class Provenance:
    """The provenance of an embedding.

    Attributes:
        made_by: The numerics and the encoder's fingerprint.
        wav_path: The path of the audio file as the manifest has it.
        segment: The part of the file, None for all of it.
        audio: The version of the file, None where there is none.
        content: A hash of the file's content, None where it is not known.
        decoded: Facts about the audio that was embedded, None where they are not known.

    """

    made_by: Mapping[str, Any]
    wav_path: str
    segment: Segment | None = None
    audio: AudioVersion | None = None
    content: str | None = None
    decoded: Decoded | None = None

    def with_audio(self, audio: AudioVersion | None, content: str | None = None) -> "Provenance":
        """Return the same provenance for a version of the audio file."""
        return replace(self, audio=audio, content=content)

    def encode(self) -> bytes:
        """Return it as JSON in one line."""
        return canonical_json(self._entries())

    def digest(self) -> ProvenanceDigest:
        """Return it in a few bytes."""
        return _digest(self._entries())

    def _entries(self) -> dict[str, Any]:
        entries = {**self.made_by, "wav_path": self.wav_path}
        entries |= self.segment._asdict() if self.segment else {}
        entries |= self.audio._asdict() if self.audio else {}
        entries |= {CONTENT: self.content} if self.content else {}
        decoded = self.decoded._asdict() if self.decoded else {}
        return entries | {key: value for key, value in decoded.items() if value is not None}


@dataclass(frozen=True)
class EmbeddingSource:
    """The origin of a manifest's embeddings: numerics, an encoder, and audio files.

    `read_fingerprint` returns the encoder's fingerprint, None where there is no encoder, and is
    called once; `wav_paths` and `segments` are the manifest's, one per utterance.
    """

    numerics: dict[str, Any]
    read_fingerprint: Callable[[], str | None]
    wav_paths: Sequence[str]
    segments: Sequence[Segment | None]

    @cached_property
    def fingerprint(self) -> str | None:
        """The encoder's fingerprint."""
        return self.read_fingerprint()

    @cached_property
    def _made_by(self) -> dict[str, Any]:
        return {**self.numerics, "encoder": self.fingerprint}

    def provenance(self, index: int) -> Provenance:
        """Return the provenance of an embedding, without a version of its audio file."""
        return Provenance(self._made_by, self.wav_paths[index], self.segments[index])


def compare(found: ProvenanceDigest, wanted: ProvenanceDigest) -> Standing:
    """Return the standing of an embedding with the provenance `found`, given the one `wanted`."""
    if found.version == wanted.version:
        return Standing.CURRENT
    if found.how != wanted.how:
        return Standing.STALE
    if wanted.size == NO_SIZE:
        return Standing.GONE
    may_be_same = found.size == wanted.size and found.content != NO_CONTENT
    return Standing.MOVED if may_be_same else Standing.STALE


def parse_provenance(provenance: bytes | None) -> dict[str, Any]:
    """Return the entries of a provenance, none where there is none or another's comment."""
    try:
        found = parse_json(provenance or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def digest_of(provenance: bytes | None) -> ProvenanceDigest | None:
    """Return the digest of an encoded provenance, None where there is none or another's comment."""
    try:
        return _digest(parse_provenance(provenance)) if provenance else None
    except (TypeError, ValueError):
        return None


def _digest(entries: dict[str, Any]) -> ProvenanceDigest:
    unversioned = (CONTENT, *Decoded._fields)
    versioned = {key: value for key, value in entries.items() if key not in unversioned}
    size = versioned.get("size", NO_SIZE)
    how = {key: value for key, value in versioned.items() if key not in (*PLACE, "size")}
    content = bytes.fromhex(entries.get(CONTENT, "")) or NO_CONTENT
    return ProvenanceDigest(_hash(how), _hash(versioned), size, content, _decoded(entries))


def _decoded(entries: dict[str, Any]) -> Decoded | None:
    seconds, speech_seconds = entries.get("seconds"), entries.get("speech_seconds")
    if seconds is None:
        return None
    speech_seconds = None if speech_seconds is None else float(speech_seconds)
    return Decoded(float(seconds), bool(entries.get("is_silent")), speech_seconds)


def _hash(entries: dict[str, Any]) -> bytes:
    return blake2b(canonical_json(entries), digest_size=8).digest()
