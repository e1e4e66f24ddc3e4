"""MP4 files of AAC or ALAC, written with the library that reads them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def write_m4a(path: Path, samples: np.ndarray, rate: int, codec: str = "aac") -> None:
    """Write samples, shape (samples, channels), as MP4, or with suffix ``.aac`` as bare AAC."""
    layout = LAYOUTS[samples.shape[1]]
    with av.open(str(path), "w", format="adts" if path.suffix == ".aac" else "mp4") as file:
        track = file.add_stream(codec, rate=rate, layout=layout)
        planes = np.ascontiguousarray(samples.T, dtype="float32")
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*track.encode(frame), *track.encode(None)]:
            file.mux(packet)
