"""Short MP3 clips of audio files, for pages that are read far from the files."""

import io

import av
import numpy
import soundfile

from xvectors.audio.opening import open_recording
from xvectors.audio.recording import Recording, Samples
from xvectors.audio.signal import Segment
from xvectors.audio.versions import check_audio
from xvectors.errors import UtteranceError

CLIP_SECONDS = 8
# In Hz. Enough for speech, and a rate that MP3 has.
CLIP_RATE = 16_000
# Of a variable bit rate: 0 is the largest, 1 the smallest. About 30 kbit/s for speech.
COMPRESSION = 0.9


def encode_clip(path: str, segment: Segment | None = None) -> bytes:
    """Return the beginning of an audio file, or of a segment of it, as MP3, mono.

    Raises:
        UtteranceError: The file is missing, not audio, or without samples.
        OSError: The machine cannot read it.

    """
    check_audio(path)
    with open_recording(path) as recording:
        samples = _read_beginning(recording, segment)
        if len(samples) == 0:
            raise UtteranceError(f"zero samples: {path}")
        samples = _resample(samples, recording.rate)
    clip = io.BytesIO()
    soundfile.write(
        clip,
        numpy.clip(samples, -1, 1),
        CLIP_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
    )
    return clip.getvalue()


def _read_beginning(recording: Recording, segment: Segment | None) -> Samples:
    seconds = float(CLIP_SECONDS)
    if segment is not None:
        recording.go_to(round(segment.start * recording.rate))
        seconds = min(seconds, segment.end - segment.start)
    return recording.read(round(seconds * recording.rate))


def _resample(samples: Samples, rate: int) -> Samples:
    """Return samples at `CLIP_RATE`. PyTorch would take seconds to load."""
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=CLIP_RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return numpy.concatenate([one.to_ndarray()[0] for one in frames])
