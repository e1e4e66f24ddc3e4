"""Small corpora of every kind, made of the demo's recordings."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lhotse
import pytest

from tests.support.checkout import DEMO
from tests.support.containers import write_parquet
from xvectors.corpora.make_manifest import make_manifest
from xvectors.errors import XVectorsError


class Expected(NamedTuple):
    """What a manifest is to say of an utterance; `recording` is one of the demo's."""

    utt_id: str
    recording: str
    text: str
    speaker_id: str
    segment: tuple[float, float] | None = None


class Corpus(NamedTuple):
    """A corpus as the configuration names it, and the utterances that it holds."""

    options: dict[str, Any]
    utterances: list[Expected]


def demo_audio(name: str) -> Path:
    """Return the file of one of the demo's recordings."""
    (path,) = (DEMO / "wav" / name.split("_", maxsplit=1)[0]).glob(f"{name}.*")
    return path


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def copy(recording: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(demo_audio(recording), path))


def make_libritts(folder: Path) -> Corpus:
    subset = folder / "LibriTTS" / "dev-clean"
    for utt_id, recording in (("84_121_0_0", "boris_00"), ("84_121_0_1", "boris_01")):
        copy(recording, subset / "84" / "121" / f"{utt_id}.wav")
        write(subset / "84" / "121" / f"{utt_id}.normalized.txt", f"Words of {utt_id}.\n")
        write(subset / "84" / "121" / f"{utt_id}.original.txt", "Others.\n")
    # No text, and one of macOS' companions.
    copy("hugo_00", folder / "LibriTTS" / "test-clean" / "19" / "7" / "19_7_0_0.wav")
    write(subset / "84" / "121" / "._84_121_0_0.wav", "junk")
    write(folder / "LibriTTS" / "SPEAKERS.txt", ";ID|SEX\n")
    return Corpus(
        {"kind": "libritts", "path": str(folder / "LibriTTS")},
        [
            Expected("84_121_0_0", "boris_00", "Words of 84_121_0_0.", "84"),
            Expected("84_121_0_1", "boris_01", "Words of 84_121_0_1.", "84"),
            Expected("19_7_0_0", "hugo_00", "", "19"),
        ],
    )


def make_vctk(folder: Path) -> Corpus:
    root = folder / "VCTK-Corpus-0.92"
    names = (("p225", "p225_001", "alba_00"), ("p226", "p226_002", "clara_01"))
    for speaker, utt_id, recording in names:
        audio = root / "wav48_silence_trimmed" / speaker
        copy(recording, audio / f"{utt_id}_mic1.flac")
        copy("grace_00", audio / f"{utt_id}_mic2.flac")
        write(root / "txt" / speaker / f"{utt_id}.txt", "Please call\tStella.\n")
    write(root / "wav48_silence_trimmed" / "log.txt", "\n")
    return Corpus(
        {"kind": "vctk", "path": str(root)},
        [
            Expected(utt_id, recording, "Please call Stella.", speaker)
            for speaker, utt_id, recording in names
        ],
    )


def make_ljspeech(folder: Path) -> Corpus:
    root = folder / "LJSpeech-1.1"
    copy("boris_02", root / "wavs" / "LJ001-0001.wav")
    copy("boris_03", root / "wavs" / "LJ001-0002.wav")
    write(
        root / "metadata.csv",
        'LJ001-0001|in 1456 "they|in fourteen fifty-six "they\nLJ001-0002|being|being\n',
    )
    return Corpus(
        {"kind": "ljspeech", "path": str(root)},
        [
            Expected("LJ001-0001", "boris_02", 'in fourteen fifty-six "they', "LJ"),
            Expected("LJ001-0002", "boris_03", "being", "LJ"),
        ],
    )


def make_kaldi(folder: Path) -> Corpus:
    """A data folder with segments; one recording is read by a command."""
    audio = folder / "audio"
    copy("dmitri_00", audio / "one.flac")
    copy("edith_02", audio / "of two.flac")
    data = folder / "data"
    write(data / "wav.scp", "rec1 audio/one.flac\nrec2 flac -c -d -s 'audio/of two.flac' |\n")
    write(data / "segments", "d-1 rec1 0.5 1.75\nd-2\trec1 1.75 -1\ne-1 rec2 0.0 2\n")
    write(data / "utt2spk", "d-1 dmitri\nd-2 dmitri\ne-1 edith\n")
    write(data / "text", "d-1 first words\nd-2\n")
    end = lhotse.Recording.from_file(audio / "one.flac").duration
    return Corpus(
        {"kind": "kaldi", "path": str(data), "root": str(folder)},
        [
            Expected("d-1", "dmitri_00", "first words", "dmitri", (0.5, 1.75)),
            Expected("d-2", "dmitri_00", "", "dmitri", (1.75, end)),
            Expected("e-1", "edith_02", "", "edith", (0, 2)),
        ],
    )


def make_lhotse(folder: Path) -> Corpus:
    """Cuts: a whole recording, one with two supervisions, one without any."""
    paths = [copy(name, folder / "audio" / f"{name}.wav") for name in ("fergus_00", "hugo_01")]
    one, two = (lhotse.Recording.from_file(path) for path in paths)
    spoken = lhotse.SupervisionSegment(
        "s/1", one.id, 0, one.duration, text="first words", speaker="fergus"
    )
    parts = [
        lhotse.SupervisionSegment("s2", two.id, 0.25, 1, text="some", speaker="hugo"),
        lhotse.SupervisionSegment("s3", two.id, 1.0, 9, text="more", speaker="other"),
    ]
    cuts = lhotse.CutSet.from_cuts(
        [
            lhotse.MonoCut("a", 0, one.duration, 0, [spoken], recording=one),
            lhotse.MonoCut("b", 0.25, 1.5, 0, parts, recording=two.resample(16000)),
            lhotse.MonoCut("c", 1, 1.25, 0, recording=two),
        ]
    )
    cuts.to_file(folder / "cuts.jsonl.gz")
    return Corpus(
        {"kind": "lhotse", "path": str(folder / "cuts.jsonl.gz")},
        [
            Expected("s-1", "fergus_00", "first words", "fergus"),
            Expected("s2", "hugo_01", "some", "hugo", (0.5, 1.5)),
            Expected("s3", "hugo_01", "more", "other", (1.25, 1.75)),
            Expected("c", "hugo_01", "", "c", (1, 2.25)),
        ],
    )


def make_nemo(folder: Path) -> Corpus:
    """A whole file, one with an offset of 0 for all of it, and two segments of a third."""
    for name in ("alba_02", "boris_02", "clara_02"):
        copy(name, folder / "audio" / f"{name}{demo_audio(name).suffix}")
    one, two, three = (
        f"audio/{name}{demo_audio(name).suffix}" for name in ("alba_02", "boris_02", "clara_02")
    )
    length = lhotse.Recording.from_file(folder / two).duration
    items = [
        {"audio_filepath": one, "text": "first words"},
        {"audio_filepath": two, "offset": 0, "duration": length, "label": "boris"},
        {"audio_filepath": three, "offset": 0, "duration": 0.5, "speaker": "clara"},
        {"audio_filepath": three, "offset": 0.5, "duration": 0.75, "speaker": "clara"},
        {"audio_filepath": three, "offset": -0.01, "duration": 0.75, "speaker": "clara"},
    ]
    manifest = write(folder / "nemo.json", "\n".join(map(json.dumps, items)))
    return Corpus(
        {"kind": "nemo", "path": str(manifest)},
        [
            Expected("audio-alba_02", "alba_02", "first words", "audio/alba_02"),
            Expected("audio-boris_02", "boris_02", "", "boris"),
            Expected("audio-clara_02", "clara_02", "", "clara", (0, 0.5)),
            Expected("audio-clara_02-00000.500", "clara_02", "", "clara", (0.5, 1.25)),
        ],
    )


def make_espnet3(folder: Path) -> Corpus:
    audio = copy("grace_01", folder / "audio" / "g.flac")
    copy("grace_02", folder / "audio" / "h.flac")
    manifest = write(
        folder / "manifest" / "train.tsv", f"g\t{audio}\tsome words\t0\nh\t../audio/h.flac\t\t0\n"
    )
    return Corpus(
        {"kind": "espnet3", "path": str(manifest)},
        [Expected("g", "grace_01", "some words", "0"), Expected("h", "grace_02", "", "0")],
    )


def make_webdataset(folder: Path) -> Corpus:
    """Two tars: one as of Emilia, with JSON, and one as of WeSpeaker, without."""
    first, second = folder / "EN" / "EN-B000000.tar", folder / "EN" / "EN-B000001.tar"
    first.parent.mkdir(parents=True)
    emilia = {"id": "EN_one", "text": "first words", "speaker": "anna", "duration": 3.0132}
    with tarfile.open(first, "w") as tar:
        add(tar, "EN_1.json", json.dumps(emilia).encode())
        add(tar, "EN_1.flac", demo_audio("alba_03").read_bytes())
        add(tar, "EN_2.json", b'{"_id": "EN_two", "language": "en"}')
    with tarfile.open(second, "w") as tar:
        add(tar, "b/x.spk", b"boris\n")
        add(tar, "b/x.wav", demo_audio("boris_03").read_bytes())
        add(tar, "b/y.txt", b"words")
        add(tar, "b/y.wav", demo_audio("boris_04").read_bytes())
    return Corpus(
        {"kind": "webdataset", "path": str(folder), "pattern": "EN/*.tar"},
        [
            Expected("EN_one", "alba_03", "first words", "anna"),
            Expected("b-x", "boris_03", "", "boris"),
            Expected("b-y", "boris_04", "words", "b/y"),
        ],
    )


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def make_parquet(folder: Path) -> Corpus:
    """Two files of a data set: the second one's rows have the path of a file, or nothing."""
    copy("clara_03", folder / "data" / "c.flac")
    names = ("alba_04", "boris_05")
    held = [{"bytes": demo_audio(name).read_bytes(), "path": name} for name in names]
    write_parquet(
        folder / "data" / "train-00000.parquet",
        {"audio": held, "speaker_id": [7, None], "sentence": ["some", None]},
    )
    write_parquet(
        folder / "data" / "train-00001.parquet",
        {"audio": [{"bytes": None, "path": "c.flac"}], "speaker_id": [8], "sentence": ["c"]},
    )
    return Corpus(
        {"kind": "parquet", "path": str(folder)},
        [
            Expected("data-train-00000-000000", "alba_04", "some", "7"),
            Expected("data-train-00000-000001", "boris_05", "", "data/train-00000-000001"),
            Expected("data-train-00001-000000", "clara_03", "c", "8"),
        ],
    )


def make_shar(folder: Path) -> Corpus:
    """Cuts as of `make_lhotse`, written by lhotse in shards of two."""
    make_lhotse(folder)
    cuts = lhotse.load_manifest(folder / "cuts.jsonl.gz")
    (folder / "shar").mkdir()
    cuts.to_shar(folder / "shar", {"recording": "flac"}, shard_size=2)
    return Corpus(
        {"kind": "shar", "path": str(folder / "shar")},
        [
            Expected("s-1", "fergus_00", "first words", "fergus"),
            Expected("s2", "hugo_01", "some", "hugo", (0.25, 1.25)),
            Expected("s3", "hugo_01", "more", "other", (1.0, 1.5)),
            Expected("c", "hugo_01", "", "c"),
        ],
    )


def make_folder(folder: Path) -> Corpus:
    root = folder / "mine"
    copy("alba_01", root / "alba" / "monday" / "01.flac")
    copy("clara_01", root / "clara" / "01.flac")
    write(root / "alba" / "notes.txt", "not audio")
    return Corpus(
        {"kind": "folder", "path": str(root), "pattern": "{speaker}/**/*.*"},
        [
            Expected("alba-monday-01", "alba_01", "", "alba"),
            Expected("clara-01", "clara_01", "", "clara"),
        ],
    )


MAKERS: dict[str, Callable[[Path], Corpus]] = {
    "libritts": make_libritts,
    "vctk": make_vctk,
    "ljspeech": make_ljspeech,
    "kaldi": make_kaldi,
    "lhotse": make_lhotse,
    "nemo": make_nemo,
    "espnet3": make_espnet3,
    "webdataset": make_webdataset,
    "parquet": make_parquet,
    "shar": make_shar,
    "folder": make_folder,
}


def rows(manifest: Path) -> list[list[str]]:
    """Return the columns of a manifest's lines."""
    return [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]


def refusal(corpus: dict[str, Any], manifest: Path) -> str:
    """Return the error of a corpus that is refused, which leaves no manifest."""
    with pytest.raises(XVectorsError) as error:
        make_manifest(corpus, manifest)
    assert not manifest.exists()
    assert not manifest.parent.exists() or list(manifest.parent.iterdir()) == []
    return str(error.value)
