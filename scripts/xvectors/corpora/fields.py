"""The fields of an utterance in JSON or in a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from xvectors.corpora.entries import Entry


class Fields(NamedTuple):
    """The names of the fields that hold an utterance's id, speaker, text and seconds.

    They are fields of JSON or columns of a table. The first one that is there counts.
    """

    utt_id: Sequence[str]
    speaker: Sequence[str]
    text: Sequence[str]
    seconds: Sequence[str]

    @classmethod
    def of(cls, utt_id: str | None, speaker: str | None, text: str | None) -> "Fields":
        """Return the given names, or the usual ones for those that are None."""
        return cls(
            ("id", "_id", "utt_id", "segment_id", "__key__") if utt_id is None else (utt_id,),
            ("speaker_id", "speaker", "client_id") if speaker is None else (speaker,),
            ("text", "sentence", "transcription", "transcript") if text is None else (text,),
            ("duration", "seconds"),
        )

    def entry(self, place: str, wav_path: str, values: dict[str, Any], default_id: str) -> Entry:
        """Return the utterance of a container's member.

        Without a speaker, it is its own speaker.

        Args:
            place: The member, for messages.
            wav_path: Its audio.
            values: The values of the fields that it has.
            default_id: Its id if no field holds one.

        """
        utt_id = _first(values, self.utt_id) or default_id
        seconds = _as_seconds(_first(values, self.seconds))
        speaker, text = _first(values, self.speaker) or utt_id, _first(values, self.text) or ""
        return Entry(place, utt_id, wav_path, text, speaker, seconds)


def _first(values: dict[str, Any], names: Sequence[str]) -> str | None:
    """Return the first value that is there, as text."""
    for name in names:
        value = values.get(name)
        if value is not None and not isinstance(value, (dict, list)):
            return str(value)
    return None


def _as_seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or 0)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
