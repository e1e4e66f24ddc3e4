"""Kinds and damages of audio, and what comes out: ``python -m tests.benchmark.audio_table``.

Writes speech in many kinds with FFmpeg, sox, lame, oggenc, opusenc and flac, damages some, reads
each as a job does, and prints a table for docs/measurements/audio_kinds.md: the decoded length, and
the largest difference to what the ``ffmpeg`` command decodes, before resampling.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.support.checkout import DEMO
from xvectors.audio.opening import open_recording
from xvectors.audio.reading import read_signal
from xvectors.audio.recording import UNKNOWN_FRAMES
from xvectors.audio.resampling import Normalizer
from xvectors.errors import UtteranceError

# Debian's packages of the tools.
PACKAGES = (
    "ffmpeg",
    "sox",
    "libsox-fmt-all",
    "lame",
    "vorbis-tools",
    "opus-tools",
    "flac",
    "speex",
)
# Commands by the name of what they write; {} stands for the 24-kHz WAV and {out} for the file.
FFMPEG = "ffmpeg -v error -y -i {wav} "
KINDS = {
    "WAV, 8 bits": "sox {wav} -b 8 -t wav {out}",
    "WAV, 16 bits": "sox {wav} -b 16 -t wav {out}",
    "WAV, 24 bits": FFMPEG + "-c:a pcm_s24le -f wav {out}",
    "WAV, 32 bits": FFMPEG + "-c:a pcm_s32le -f wav {out}",
    "WAV, float": FFMPEG + "-c:a pcm_f32le -f wav {out}",
    "WAV, double": FFMPEG + "-c:a pcm_f64le -f wav {out}",
    "WAV, A-law": "sox {wav} -e a-law -t wav {out}",
    "WAV, mu-law": "sox {wav} -e u-law -t wav {out}",
    "WAV, IMA ADPCM": "sox {wav} -e ima-adpcm -t wav {out}",
    "WAV, MS ADPCM": "sox {wav} -e ms-adpcm -t wav {out}",
    "WAV, GSM": "sox {wav} -r 8000 -e gsm-full-rate -t wav {out}",
    "WAV, MP3 inside": FFMPEG + "-c:a libmp3lame -f wav {out}",
    "WAV, 6 channels, 48 kHz": FFMPEG + "-ac 6 -ar 48000 -f wav {out}",
    "WAV into a pipe, sox": "sox {wav} -t wav - | cat > {out}",
    "WAV into a pipe, FFmpeg": FFMPEG + "-f wav - | cat > {out}",
    "RF64": FFMPEG + "-rf64 always -f wav {out}",
    "W64": FFMPEG + "-f w64 {out}",
    "AIFF": "sox {wav} -t aiff {out}",
    "AIFF into a pipe": "sox {wav} -t aiff - | cat > {out}",
    "AIFC": "sox {wav} -t aifc {out}",
    "AU": "sox {wav} -t au {out}",
    "AU into a pipe": "sox {wav} -t au - | cat > {out}",
    "CAF": FFMPEG + "-f caf {out}",
    "CAF, ALAC": FFMPEG + "-c:a alac -f caf {out}",
    "NIST SPHERE": "sox {wav} -t sph {out}",
    "NIST SPHERE, mu-law": "sox {wav} -e u-law -t sph {out}",
    "VOC": "sox {wav} -t voc {out}",
    "FLAC": "flac -s -f -o {out} {wav}",
    "FLAC, level 8": "flac -s -8 -f -o {out} {wav}",
    "FLAC into a pipe": "flac -s -c {wav} | cat > {out}",
    "FLAC in Ogg": "flac -s --ogg -f -o {out} {wav}",
    "FLAC in Matroska": FFMPEG + "-c:a flac -f matroska {out}",
    "WavPack": FFMPEG + "-c:a wavpack -f wv {out}",
    "TTA": FFMPEG + "-c:a tta -f tta {out}",
    "MP3, constant": "lame --quiet -b 64 {wav} {out}",
    "MP3, constant, no Xing": "lame --quiet -t -b 64 {wav} {out}",
    "MP3, variable": "lame --quiet -V 4 {wav} {out}",
    "MP3, variable, no Xing": "lame --quiet -t -V 4 {wav} {out}",
    "MP3, average": "lame --quiet --abr 48 {wav} {out}",
    "MP3, stereo": FFMPEG + "-ac 2 -f mp3 {out}",
    "MP3 into a pipe": FFMPEG + "-f mp3 - | cat > {out}",
    "MP2": FFMPEG + "-c:a mp2 -f mp2 {out}",
    "AAC, ADTS": FFMPEG + "-c:a aac -f adts {out}",
    "AAC in MP4": FFMPEG + "-c:a aac -f mp4 {out}",
    "AAC in MP4, index first": FFMPEG + "-c:a aac -movflags faststart -f mp4 {out}",
    "AAC in fragments": FFMPEG + "-c:a aac -movflags frag_keyframe+empty_moov -f mp4 {out}",
    "AAC in Matroska": FFMPEG + "-c:a aac -f matroska {out}",
    "ALAC in MP4": FFMPEG + "-c:a alac -f mp4 {out}",
    "Vorbis": "oggenc -Q -o {out} {wav}",
    "Vorbis in WebM": FFMPEG + "-c:a libvorbis -f webm {out}",
    "Opus": "opusenc --quiet {wav} {out}",
    "Opus in WebM": FFMPEG + "-c:a libopus -f webm {out}",
    "Opus in WebM into a pipe": FFMPEG + "-c:a libopus -f webm - | cat > {out}",
    "WMA 2": FFMPEG + "-c:a wmav2 -f asf {out}",
    "Speex": "speexenc --quiet {wav} {out}",
}
DAMAGED = [
    "WAV, 16 bits",
    "RF64",
    "W64",
    "AIFF",
    "AU",
    "CAF",
    "NIST SPHERE",
    "FLAC",
    "MP3, variable",
]
DAMAGED += ["MP3, variable, no Xing", "AAC, ADTS", "AAC in MP4, index first", "Vorbis"]
DAMAGED += ["Opus", "Opus in WebM", "WMA 2"]


def halved(content: bytes) -> bytes:
    """Return the first half, less an odd number."""
    return content[: len(content) // 2 - 7]


def zeroed(content: bytes) -> bytes:
    """Return a content with 600 bytes of zeros in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes(600) + content[middle + 600 :]


def doubled(content: bytes) -> bytes:
    """Return a content twice."""
    return content * 2


CHANGES: dict[str, tuple[Callable[[bytes], bytes], list[str]]] = {
    "cut in half": (halved, DAMAGED),
    "600 zeros in the middle": (
        zeroed,
        ["FLAC", "MP3, constant", "MP3, variable", "AAC, ADTS", "AAC in MP4", "Vorbis", "Opus"],
    ),
    "twice in a row": (doubled, ["MP3, constant", "MP3, variable, no Xing", "Vorbis", "Opus"]),
}


def by_ffmpeg(path: Path) -> np.ndarray:
    """Return what the command decodes, (samples,), the mean of all channels."""
    probe = [
        "-of",
        "csv=p=0",
        "-v",
        "error",
        "-select_streams",
        "a:0",
        "-show_entries",
        "stream=channels",
    ]
    found = subprocess.run(
        ["ffprobe", *probe, "-show_entries", "stream=channels", path],
        capture_output=True,
        text=True,
        check=False,
    )
    channels = int((found.stdout.strip().splitlines() or ["1"])[0].strip(",") or 1)
    command = ["ffmpeg", "-v", "quiet", "-i", path, "-map", "a:0", "-f", "f32le", "-"]
    result = subprocess.run(command, capture_output=True, check=False)
    return np.frombuffer(result.stdout, "float32").reshape(-1, channels).mean(1)


def row(name: str, path: Path, normalizer: Normalizer) -> str:
    """Return a line of the table."""
    expected = by_ffmpeg(path)
    try:
        seconds = read_signal(str(path), normalizer).decoded.seconds
        with open_recording(str(path)) as recording:
            samples, rate = recording.read(UNKNOWN_FRAMES), recording.rate
    except UtteranceError as error:
        return f"| {name} | refused: {str(error).replace(str(path), 'the file')} | | |"
    if rate != 48000 or "Opus" not in name:
        n = min(len(samples), len(expected))
        difference = f"{np.abs(samples[:n] - expected[:n]).max():.1e}" if n else "nothing decoded"
        further = f"{len(samples) - len(expected):+d}"
    else:
        difference, further = "", ""
    return f"| {name} | {seconds:.4f} s at {rate} Hz | {difference} | {further} |"


def write(command: str, wav: Path, out: Path) -> bool:
    """Write a file, unless a tool for it is missing."""
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        print(f"skipped, not installed: {command.split(maxsplit=1)[0]}", file=sys.stderr)
        return False
    line = command.format(wav=wav, out=out)
    return subprocess.run(line, shell=True, capture_output=True, check=False).returncode == 0


def rows(folder: Path, kinds: Iterable[str] = KINDS) -> Iterator[str]:
    """Yield the lines of the table, with files that are written into a folder."""
    normalizer = Normalizer(16000)
    speech, rate = soundfile.read(DEMO / "wav" / "edith" / "edith_00.flac", dtype="float32")
    wav, out = folder / "speech.wav", folder / "a"
    soundfile.write(wav, np.tile(speech, 3)[: 5 * rate], rate)
    yield "| kind | what came out | largest difference to FFmpeg | samples more |"
    yield "|---|---|---|---|"
    for name in kinds:
        out.unlink(missing_ok=True)
        if not write(KINDS[name], wav, out):
            continue
        yield row(name, out, normalizer)
        content = out.read_bytes()
        for change, (apply, names) in CHANGES.items():
            if name in names:
                out.write_bytes(apply(content))
                yield row(f"{name}, {change}", out, normalizer)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        for line in rows(Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
