"""Provenance: what made an embedding, kept inside the embedding's own file.

An embedding is current when its provenance equals what would make it today, and stale
otherwise. The provenance is one line of JSON in the comment of the ``.pt`` file's zip
container, which ``torch.load`` passes over. So it is written, moved and lost together with
the vector, and a file that was cut short has none. Files of another kind (a runner of your
own may leave any) carry it in a hidden file beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xvectors.audio.signal import Segment
from xvectors.audio.versions import AudioVersion
from xvectors.files.atomic import parse_json
from xvectors.files.checksummed_json import canonical_json


@dataclass(frozen=True)
class EmbeddingSource:
    """What makes the embeddings of a manifest: a numerics, an encoder, and the audio files.

    `fingerprint` is the encoder's, None where there is none; `wav_paths` and `segments` are
    the manifest's, one per utterance.
    """

    numerics: dict[str, Any]
    fingerprint: str | None
    wav_paths: Sequence[str]
    segments: Sequence[Segment | None]

    def provenance(self, index: int, audio: AudioVersion | None) -> bytes:
        """Return the provenance of an embedding that is made now from a version of its audio."""
        provenance = {
            **self.numerics,
            "encoder": self.fingerprint,
            "wav_path": self.wav_paths[index],
        }
        segment = self.segments[index]
        provenance |= segment._asdict() if segment else {}
        return canonical_json(provenance | (audio._asdict() if audio else {}))


def parse_provenance(provenance: bytes | None) -> dict[str, Any]:
    """Return the entries of a provenance, none where there is none or another's comment."""
    try:
        found = parse_json(provenance or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_same_but_audio(one: bytes | None, other: bytes) -> bool:
    """Tell whether two provenances differ in nothing but the version of the audio file."""
    version = dict.fromkeys(AudioVersion._fields)
    return parse_provenance(one) | version == parse_provenance(other) | version
