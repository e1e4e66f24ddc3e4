"""Sound in the formats that only FFmpeg writes, made with its libraries."""

import io
from fractions import Fraction

import av
import numpy as np


def encode(
    samples: np.ndarray,
    rate: int,
    kind: str,
    codec: str,
    *,
    is_pipe: bool = False,
    bit_rate: int = 64000,
) -> bytes:
    """Return a file of a kind, of samples of shape (samples, 1).

    Args:
        samples: The sound, within -1 and 1.
        rate: Its rate in Hz.
        kind: FFmpeg's name of the format, such as ``mp4``.
        codec: FFmpeg's name of the encoder, such as ``aac``.
        is_pipe: Whether the encoder cannot go back to write the length into the header.
        bit_rate: Bits per second.

    """
    file = io.BytesIO()

    class Pipe:
        def write(self, data: bytes) -> int:
            return file.write(data)

    with av.open(Pipe() if is_pipe else file, "w", format=kind) as container:
        track = container.add_stream(codec, rate=rate, layout="mono")
        track.bit_rate = bit_rate
        sound = np.ascontiguousarray(samples.T * 2**15).astype("int16")
        frame = av.AudioFrame.from_ndarray(sound, format="s16p", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            track.codec_context.format, "mono", rate, track.codec_context.frame_size
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(part))
        container.mux(track.encode(None))
    return file.getvalue()
