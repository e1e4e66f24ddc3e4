"""Signals of audio files, as an encoder wants them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy

from xvectors.audio.byte_ranges import check_place
from xvectors.audio.containers import find_member
from xvectors.audio.files import open_file, open_found
from xvectors.audio.opening import open_recording
from xvectors.audio.recording import (
    MAX_HOURS,
    MAX_MISSING_SECONDS,
    PIECE_SECONDS,
    SECONDS_PER_HOUR,
    UNKNOWN_FRAMES,
    Channels,
    Recording,
)
from xvectors.audio.signal import Decoded, Segment, Signal, is_silent
from xvectors.audio.versions import audio_version, check_audio
from xvectors.errors import UtteranceError

if TYPE_CHECKING:
    import torch

    from xvectors.audio.resampling import Normalizer

# Far wider than the resampler's filter, which has a few milliseconds.
MARGIN_SECONDS = 1
READ_BYTES = 2**20
# Times in segment lists are rounded: a segment may end this much after its recording.
MAX_OVERSHOOT_SECONDS = 0.1


def read_signal(
    path: str,
    normalizer: "Normalizer",
    segment: Segment | None = None,
    channels: Channels = "mean",
) -> Signal:
    """Decode a file, or a segment of it, and bring it to an encoder's rate, mono.

    Args:
        path: Any file that libsndfile or FFmpeg reads, or a member of a container.
        normalizer: Brings signals to the encoder's rate. It gets a signal that is longer than a
            minute in overlapping pieces, whose margins are cut off again. That gives the same
            samples, because no resampling filter is longer than a margin.
        segment: The part that is wanted, and which alone is decoded; None for all.
        channels: What is taken of several channels: their mean, or the first.

    Returns:
        A signal, on the CPU, at the normalizer's rate, or at its own where the normalizer leaves
        it to `Normalizer.normalize_together` and it is no longer than a minute.

    Raises:
        UtteranceError: The file is missing, not audio, without samples, or not finite, or it
            ends before the segment does.

    """
    import torch  # noqa: PLC0415 - the rules that need no signal start without torch

    member = find_member(path)
    container = path if member is None else member.container
    before = check_audio(container)
    try:
        file = open_found(path, member, is_read=True)
        with open_recording(path, channels, file) as recording:
            n_samples = _begin(recording, segment)
            rate, pieces, n_read = normalizer.sample_rate, [], 0
            for samples, margins in _pieces(recording, n_samples):
                if margins == WHOLE and normalizer.is_deferred(recording.rate):
                    rate, piece = recording.rate, samples
                else:
                    normalized = normalizer(samples[:, None], recording.rate)
                    piece = _cut_margins(normalized, margins, rate)
                pieces.append(piece)
                margin_seconds = margins.before + margins.after
                n_read += len(samples) - margin_seconds * recording.rate
            seconds = n_read / recording.rate
    except UtteranceError as error:
        _check_readable(path, error)
        check_place(member, error)
        raise
    if audio_version(container) != before:
        raise UtteranceError(f"changed while it was read: {path}")
    signal = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    if len(signal) == 0:
        raise UtteranceError(f"zero samples: {path}")
    # PyTorch's own function takes twenty times as long.
    if not numpy.isfinite(signal.numpy()).all():
        raise UtteranceError(f"not finite: {path} holds NaN or infinite samples")
    return Signal(signal, rate, Decoded(seconds, is_silent(signal)))


class _Margins(NamedTuple):
    """Seconds of a piece that its neighbours cover: before it and after it."""

    before: int
    after: int


# Of a piece that is all of the signal.
WHOLE = _Margins(0, 0)


def _begin(recording: Recording, segment: Segment | None) -> int:
    """Go to where reading begins, and return the number of samples from there, if it is known.

    Raises:
        UtteranceError: There are none or too many, or the file is cut off.

    """
    if segment:
        n_samples = _go_to(recording, segment)
        _check_length(recording, n_samples)
        return n_samples
    recording.check_whole()
    _check_length(recording, recording.n_samples)
    # A header may state less than there is.
    return UNKNOWN_FRAMES


def _go_to(recording: Recording, segment: Segment) -> int:
    """Go to the beginning of a segment, and return its number of samples.

    Raises:
        UtteranceError: The file ends before the segment does, by more than rounding.

    """
    start, end = round(segment.start * recording.rate), round(segment.end * recording.rate)
    if start >= recording.n_samples or segment.end > recording.seconds + MAX_OVERSHOOT_SECONDS:
        raise UtteranceError(
            f"segment beyond the end: {recording.path} has {recording.seconds:.4f} s, "
            f"not {segment.start:g} to {segment.end:g} s"
        )
    recording.go_to(start)
    return min(end, recording.n_samples) - start


def _check_length(recording: Recording, n_samples: int) -> None:
    """Raise UtteranceError if there are no samples, or more than surely fit into memory."""
    if n_samples <= 0:
        raise UtteranceError(f"zero samples: {recording.path}")
    hours = n_samples / recording.rate / SECONDS_PER_HOUR
    if n_samples < UNKNOWN_FRAMES and hours > MAX_HOURS:
        raise UtteranceError(
            f"too long: {recording.path} has {hours:.1f} hours, more than {MAX_HOURS}; make "
            "segments of it (start= and end= in the manifest)"
        )


def _pieces(recording: Recording, n_samples: int) -> Iterator[tuple["torch.Tensor", _Margins]]:
    """Yield the next `n_samples` of a file, (samples,) float32, in overlapping pieces.

    Raises:
        UtteranceError: The file has fewer, though its header states its length, or it has more
            than are taken.

    """
    import torch  # noqa: PLC0415

    piece, margin = PIECE_SECONDS * recording.rate, MARGIN_SECONDS * recording.rate
    samples = recording.read(min(piece + margin, n_samples))
    n_read = len(samples)
    before = 0
    while len(samples) == before * recording.rate + piece + margin:
        yield torch.from_numpy(samples), _Margins(before, MARGIN_SECONDS)
        more = recording.read(min(piece, n_samples - n_read))
        n_read += len(more)
        _check_length(recording, n_read)
        samples = numpy.concatenate([samples[-2 * margin :], more])
        before = MARGIN_SECONDS
    _check_length(recording, n_read)
    yield torch.from_numpy(samples), _Margins(before, 0)
    wanted = n_samples if n_samples < UNKNOWN_FRAMES else recording.n_samples
    missing = (wanted - n_read) / recording.rate
    if wanted < UNKNOWN_FRAMES and missing > MAX_MISSING_SECONDS:
        raise UtteranceError(f"cut off: {recording.path} ends {missing:.4f} s too early")


def _cut_margins(signal: "torch.Tensor", margins: _Margins, sample_rate: int) -> "torch.Tensor":
    """Return `signal` without its margins; pieces start at whole seconds, so none is halved."""
    end = None if margins.after == 0 else (margins.before + PIECE_SECONDS) * sample_rate
    return signal[margins.before * sample_rate : end]


def _check_readable(path: str, error: UtteranceError) -> None:
    """Raise OSError if the machine, and not the file, is why it cannot be decoded.

    Decoders take an input error for the end of the file, or do not tell one from damage.
    """
    try:
        with open_file(path) as file:
            while file.read(READ_BYTES):
                pass
    except UtteranceError:
        return
    except OSError as reason:
        raise reason from error
