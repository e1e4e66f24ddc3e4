"""Checks of MP3 and AAC frames, because decoders skip damaged ones without an error."""
# ruff: noqa: PLR2004 - numbers of the formats, which have no names

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 2**20
HEAD_BYTES = 2**13
HEADER_BYTES = 7
# Containers whose bytes may look like a frame: WAV and similar, FLAC, Ogg, Matroska, ASF, MPEG
# program streams, WavPack, Monkey's Audio, TTA, TAK, AMR, RealMedia, Flash.
CONTAINERS = {b"RIFF", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"NIST", b"fLaC", b"OggS"}
CONTAINERS |= {b"\x1aE\xdf\xa3", b"0&\xb2u", b"\0\0\1\xba", b"wvpk", b"MAC ", b"TTA1", b"tBaK"}
CONTAINERS |= {b"#!AM", b".RMF", b"FLV\1"}
# Kinds of the first box of MP4 and QuickTime.
BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
MARK_BYTES = 8
# MPEG transport streams are packets of this many bytes, each with a mark.
PACKET_BYTES, PACKET_MARK = 188, b"G"
# One header may be a coincidence. Several in a row are not.
IN_A_ROW = 4
ID3_HEADER_BYTES = 10
ID3V1_BYTES = 128
APE_HEADER_BYTES = 32
BITRATES = {  # kbit/s by MPEG-1 or not, and layer.
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = (44100, 48000, 32000)
AAC_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000]
AAC_RATES += [7350]


class Frame(NamedTuple):
    """A frame's size in bytes, its rate in Hz, and its samples per channel."""

    size: int
    rate: int
    n_samples: int


class Frames(NamedTuple):
    """The frames of a file.

    Attributes:
        kind: "mp3" or "aac".
        place: Where the first frame begins, in bytes.
        rate: Sampling rate in Hz.
        n_samples: Samples per channel in all frames, without the one that holds `stated`.
        stated: Samples that the file's first frame states (Xing, LAME), None without it.
        trimmed: How many of `stated` the encoder added at the beginning and end.
        problem: Why the file is not whole, None if it is.
        is_cut_off: Whether the problem is that the last frame is incomplete.
        has_tags_inside: Whether there are tags between frames, as in concatenated files.

    """

    kind: str
    place: int
    rate: int
    n_samples: int
    stated: int | None
    trimmed: int
    problem: str | None = None
    is_cut_off: bool = False
    has_tags_inside: bool = False

    @property
    def n_kept(self) -> int:
        """Samples per channel in all frames, without those that the encoder added."""
        return self.n_samples - (self.trimmed if self.stated else 0)


@lru_cache(2**14)
def _mpeg_frame(header: bytes) -> Frame | None:
    """Return the frame of MPEG audio whose header begins with three bytes."""
    if len(header) < 3 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in {0, 15} or rate == 3:
        return None
    is_first = version == 3
    hertz = MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = BITRATES[is_first, layer][bitrate - 1] * 1000
    padding = header[2] >> 1 & 1
    if layer == 1:
        return Frame((12 * bits // hertz + padding) * 4, hertz, 384)
    n_samples = 1152 if is_first or layer == 2 else 576
    return Frame(n_samples // 8 * bits // hertz + padding, hertz, n_samples)


def _aac_frame(header: bytes) -> Frame | None:
    """Return the frame of AAC (ADTS) whose header is seven bytes."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    rate = header[2] >> 2 & 15
    if size < HEADER_BYTES or rate >= len(AAC_RATES):
        return None
    return Frame(size, AAC_RATES[rate], 1024 * ((header[6] & 3) + 1))


KINDS: dict[str, tuple[int, Callable[[bytes], Frame | None]]] = {
    "mp3": (3, _mpeg_frame),
    "aac": (7, _aac_frame),
}


class _Window:
    """A file's bytes, read in blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self._start, self._data = 0, file.read(HEAD_BYTES)

    def bytes_at(self, place: int, length: int) -> bytes:
        """Return the bytes at a place, fewer at the end."""
        offset = place - self._start
        if offset < 0 or offset + length > len(self._data):
            self._file.seek(place)
            self._start, self._data, offset = place, self._file.read(BLOCK_BYTES), 0
        return self._data[offset : offset + length]

    def frame_at(self, place: int, kind: str) -> Frame | None:
        """Return the frame that begins at a place, None without one."""
        n_bytes, parse = KINDS[kind]
        return parse(self.bytes_at(place, n_bytes))


def read_head(file: BinaryIO) -> Frames | None:
    """Return the frames that a file's beginning describes, None if it does not begin with a frame.

    Frames are not counted, so `n_samples` is 0.
    """
    window = _Window(file)
    if _is_container(window):
        return None
    start = _after_tags(window, 0)
    for place in _candidates(window, start, 2**12):
        for kind in KINDS:
            frame = window.frame_at(place, kind)
            # What follows something else may look like a frame by chance.
            if frame and _are_frames(window, place, kind, frame.rate, is_whole=place > start):
                stated, trimmed = _stated(window.bytes_at(place, frame.size), frame)
                return Frames(kind, place, frame.rate, 0, stated, trimmed)
    return None


def _is_container(window: _Window) -> bool:
    """Tell whether a file is of a format that may hold frames, or what looks like them."""
    head = window.bytes_at(0, MARK_BYTES)
    is_transport_stream = head[:1] == PACKET_MARK == window.bytes_at(PACKET_BYTES, 1)
    return is_transport_stream or head[:4] in CONTAINERS or head[4:8] in BOXES


def _candidates(window: _Window, place: int, length: int) -> Iterator[int]:
    """Yield the places among the next bytes at which a frame might begin."""
    data = window.bytes_at(place, length)
    offset = data.find(b"\xff")
    while offset >= 0:
        yield place + offset
        offset = data.find(b"\xff", offset + 1)


def scan(file: BinaryIO, head: Frames) -> Frames:
    """Count the frames of a file, and check that one follows the other up to its end."""
    window = _Window(file)
    place = head.place
    first = window.frame_at(place, head.kind)
    n_samples = -first.n_samples if first and head.stated is not None else 0
    problem, is_cut_off, has_tags_inside = None, False, False
    while place < window.size:
        frame = window.frame_at(place, head.kind)
        if frame is not None and frame.rate == head.rate:
            if place + frame.size > window.size:
                # A first frame that states a length tells better.
                if head.stated is None:
                    problem, is_cut_off = "cut off in the middle of a frame", True
                break
            n_samples += frame.n_samples
            place += frame.size
            continue
        if frame is not None and window.frame_at(place + frame.size, head.kind):
            problem = f"changes its rate from {head.rate} to {frame.rate} Hz at byte {place}"
            break
        after = _after_tags(window, place)
        if after > place:
            place = after
            has_tags_inside |= place < window.size
            continue
        if _has_frame_behind(window, place, head):
            problem = f"damaged: there is no frame at byte {place}"
        break
    return head._replace(
        n_samples=n_samples, problem=problem, is_cut_off=is_cut_off, has_tags_inside=has_tags_inside
    )


def _are_frames(
    window: _Window, place: int, kind: str, rate: int, *, is_whole: bool = False
) -> bool:
    """Tell whether `IN_A_ROW` frames of a rate begin at a place, or fewer up to the end.

    The last of fewer may be incomplete, unless `is_whole`.
    """
    for _ in range(IN_A_ROW):
        frame = window.frame_at(place, kind)
        if frame is None or frame.rate != rate:
            return False
        place += frame.size
        if place >= window.size or _after_tags(window, place) > place:
            return place <= window.size or not is_whole
    return True


def _has_frame_behind(window: _Window, place: int, head: Frames) -> bool:
    """Tell whether frames follow bytes that are not a frame."""
    step = BLOCK_BYTES // 2
    return any(
        _are_frames(window, candidate, head.kind, head.rate)
        for start in range(place, window.size, step)
        for candidate in _candidates(window, start, step)
    )


def _after_tags(window: _Window, place: int) -> int:
    """Return the place behind the tags (ID3, APE) that stand at a place."""
    while True:
        head = window.bytes_at(place, APE_HEADER_BYTES)
        if head.startswith(b"ID3") and len(head) >= ID3_HEADER_BYTES:
            size = 0
            for byte in head[6:10]:
                size = size << 7 | byte & 127
            place += ID3_HEADER_BYTES + size + (ID3_HEADER_BYTES if head[5] & 16 else 0)
        elif head.startswith(b"TAG"):
            place += ID3V1_BYTES
        elif head.startswith(b"APETAGEX") and len(head) == APE_HEADER_BYTES:
            place += APE_HEADER_BYTES + int.from_bytes(head[12:16], "little")
        else:
            return place


def _stated(content: bytes, frame: Frame) -> tuple[int | None, int]:
    """Return the samples that a first frame states, and those of them that were added."""
    for mark in (b"Xing", b"Info"):
        place = content.find(mark, 4, 64)
        if place < 0:
            continue
        flags = int.from_bytes(content[place + 4 : place + 8], "big")
        if not flags & 1:
            return None, 0
        n_frames = int.from_bytes(content[place + 8 : place + 12], "big")
        lame = place + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        trim = int.from_bytes(content[lame + 21 : lame + 24], "big")
        has_trim = content[lame : lame + 4].isalnum()
        return n_frames * frame.n_samples, (trim >> 12) + (trim & 0xFFF) if has_trim else 0
    place = content.find(b"VBRI", 4, 64)
    if place >= 0:
        n_frames = int.from_bytes(content[place + 14 : place + 18], "big")
        return n_frames * frame.n_samples, 0
    return None, 0
