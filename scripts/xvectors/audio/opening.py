"""Opening audio files: their bytes decide which decoder reads them."""

from contextlib import suppress
from typing import BinaryIO

from xvectors.audio.containers import find_member
from xvectors.audio.files import open_file, open_found
from xvectors.audio.flac import HEAD_BYTES as FLAC_HEAD_BYTES
from xvectors.audio.flac import MARK as FLAC_MARK
from xvectors.audio.flac import stated_length, with_true_length
from xvectors.audio.frames import Frames, read_head, scan
from xvectors.audio.lengths import stated_bytes
from xvectors.audio.many_files import map_overlapped
from xvectors.audio.ogg import CAPTURE, is_chained, read_pages
from xvectors.audio.recording import MAX_MISSING_SECONDS, UNKNOWN_FRAMES, Channels, Recording
from xvectors.audio.sndfile import UNREADABLE, SndfileRecording, not_audio
from xvectors.audio.versions import check_audio
from xvectors.errors import UtteranceError

# Suffixes by which audio is found in a folder.
AUDIO_SUFFIXES = {".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a"}
AUDIO_SUFFIXES |= {".m4b", ".mka", ".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".rf64"}
AUDIO_SUFFIXES |= {".snd", ".sph", ".w64", ".wav", ".wave", ".webm", ".wma", ".wv"}
# Speech is recorded at lower rates than this one, in Hz; studios go up to it.
MAX_RATE = 768_000
MAGIC_BYTES = 12


def open_recording(
    path: str, channels: Channels = "mean", file: BinaryIO | None = None
) -> Recording:
    """Open an audio file, or a member of a container. Several channels become one.

    `file` is given if it is open already; the recording closes it.

    Raises:
        UtteranceError: It is not audio, is damaged, or has a rate that speech never has.
        OSError: The machine cannot read it.

    """
    recording = _open(path, file or open_file(path, is_read=True), is_read=True)
    recording.channels = channels
    return recording


def _open(path: str, file: BinaryIO, *, is_read: bool) -> Recording:
    """Return the recording of a file, which it closes; not `is_read` if only its length counts."""
    try:
        recording = _choose(path, file, is_read=is_read)
    except BaseException:
        file.close()
        raise
    if not 0 < recording.rate <= MAX_RATE:
        recording.close()
        raise UtteranceError(f"not audio: {path}: a sampling rate of {recording.rate} Hz")
    return recording


def _choose(path: str, file: BinaryIO, *, is_read: bool) -> Recording:
    file.seek(0)
    magic = file.read(MAGIC_BYTES)
    if not magic:
        raise UtteranceError(f"not audio: {path}: it is empty")
    if magic.startswith(CAPTURE):
        return _open_ogg(path, file, is_read=is_read)
    stated = stated_bytes(file)
    if is_read and magic.startswith(FLAC_MARK):
        file = with_true_length(file)
    if stated is not None or magic.startswith(FLAC_MARK):
        try:
            recording = SndfileRecording(path, file, stated)
        except UNREADABLE as error:
            if stated and stated.missing_part:
                raise UtteranceError(f"cut off: {path}") from error
            return _open_other(path, file, error)
        # libsndfile takes a length that was never written for one of 0.
        if recording.n_samples or stated is None or stated.stated is not None:
            return recording
        return _with_ffmpeg(path, file)
    head = read_head(file)
    if head is not None:
        return _open_frames(path, file, head)
    return _open_other(path, file)


def _with_ffmpeg(path: str, file: BinaryIO, **options: bool) -> Recording:
    """Open a file with FFmpeg. The options are those of `FfmpegRecording`."""
    from xvectors.audio.ffmpeg import FfmpegRecording  # noqa: PLC0415 - 0.1 s, rarely needed

    return FfmpegRecording(path, file, **options)


def _open_other(path: str, file: BinaryIO, error: Exception | None = None) -> Recording:
    """Open a file with FFmpeg, or else with libsndfile unless it has raised `error`."""
    try:
        return _with_ffmpeg(path, file)
    except UtteranceError as other:
        if error is None:
            try:
                return SndfileRecording(path, file)
            except UNREADABLE:
                raise other from None
        raise not_audio(path, error) from error


def _open_ogg(path: str, file: BinaryIO, *, is_read: bool) -> Recording:
    """Open Ogg: with libsndfile, which stops at the end of the first of several streams, or not."""
    if not is_read:
        return _with_ffmpeg(path, file) if is_chained(file) else _open_either(path, file)
    pages = read_pages(path, check_audio(path))
    problem = f"{pages.problem}: {path}" if pages.problem else None
    try:
        recording = (
            _with_ffmpeg(path, file, is_chained=True)
            if pages.n_links > 1
            else _open_either(path, file)
        )
    except UtteranceError as error:
        if problem:
            raise UtteranceError(problem) from error
        raise
    recording.problem = problem
    return recording


def _open_either(path: str, file: BinaryIO) -> Recording:
    """Open a file with libsndfile, or else with FFmpeg."""
    try:
        return SndfileRecording(path, file)
    except UNREADABLE as error:
        return _open_other(path, file, error)


def _open_frames(path: str, file: BinaryIO, head: Frames) -> Recording:
    """Open MP3 or AAC without a container, after a look at all its frames."""
    frames = scan(file, head)
    if frames.problem and not frames.is_cut_off:
        raise UtteranceError(f"{frames.problem}: {path}")
    missing = ((frames.stated or 0) - frames.n_samples) / frames.rate
    recording = _choose_decoder(path, file, frames)
    recording.n_samples = frames.n_kept
    if frames.is_cut_off:
        recording.problem = f"{frames.problem}: {path}"
    elif missing > MAX_MISSING_SECONDS:
        recording.problem = f"cut off: {path} ends {missing:.4f} s too early"
    return recording


def _choose_decoder(path: str, file: BinaryIO, frames: Frames) -> Recording:
    """Return the faster decoder for MP3 if it takes all frames, FFmpeg otherwise."""
    is_single = frames.stated is None or frames.n_samples <= frames.stated
    if frames.kind == "mp3" and is_single:
        with suppress(*UNREADABLE):
            recording = SndfileRecording(path, file)
            if recording.n_samples == frames.n_kept:
                return recording
    return _with_ffmpeg(path, file, skips_errors=frames.has_tags_inside)


def durations(paths: list[str]) -> list[float]:
    """Return the files' seconds, by their headers, 0 for a file that cannot be read."""
    return list(map_overlapped(_duration, paths))


def _duration(path: str) -> float:
    try:
        member = find_member(path)
        check_audio(path if member is None else member.container)
        file = open_found(path, member, is_read=False)
        if (found := stated_length(file.read(FLAC_HEAD_BYTES))) and 0 < found[1] <= MAX_RATE:
            file.close()
            return found[0] / found[1]
        if (head := read_head(file)) is not None and head.stated:
            file.close()
            return (head.stated - head.trimmed) / head.rate
        with _open(path, file, is_read=False) as recording:
            if recording.n_samples < UNKNOWN_FRAMES:
                return recording.seconds
            return recording.count_rest() / recording.rate
    except (OSError, UtteranceError):
        return 0.0
