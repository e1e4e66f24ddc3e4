"""Containers of audio: files packed in each kind, with the names of what is in them."""

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import lhotse
import pyarrow
from pyarrow import parquet

from xvectors.corpora.entries import Entry
from xvectors.corpora.shar import read_shar


def pack_tar(files: Sequence[Path], container: Path) -> list[str]:
    """Pack files into a tar."""
    with tarfile.open(container, "w") as tar:
        for file in files:
            tar.add(file, file.name)
    with tarfile.open(container) as tar:
        members = {member.name: member for member in tar}
    found = [members[file.name] for file in files]
    return [f"{container}:{member.offset_data}+{member.size}" for member in found]


def pack_ark(files: Sequence[Path], container: Path) -> list[str]:
    """Pack WAV and FLAC into an archive, as Kaldi's wav-copy does with WAV."""
    return _pack_ark(files, container, lambda content: content)


def pack_audio_ark(files: Sequence[Path], container: Path) -> list[str]:
    """Pack files into an archive of the kind that kaldiio and ESPnet write."""
    return _pack_ark(files, container, _with_kaldiio_mark)


def _with_kaldiio_mark(content: bytes) -> bytes:
    n_bytes = (len(content).bit_length() + 7) // 8
    return b"AUDIO" + bytes([n_bytes]) + len(content).to_bytes(n_bytes, "little") + content


def _pack_ark(files: Sequence[Path], container: Path, wrap: Callable[[bytes], bytes]) -> list[str]:
    names = []
    with container.open("wb") as ark:
        for file in files:
            ark.write(f"{file.stem} ".encode())
            names.append(f"{container}:{ark.tell()}")
            ark.write(wrap(file.read_bytes()))
    return names


def pack_parquet(
    files: Sequence[Path], container: Path, rows_in_group: int = 3, **columns: list[str | None]
) -> list[str]:
    """Pack files into the rows of a column ``audio``, as the hub's data sets have them."""
    audio = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    write_parquet(container, {"audio": audio, **columns}, rows_in_group)
    return [f"{container}:audio[{row}]" for row in range(len(files))]


def write_parquet(
    container: Path, columns: dict[str, list[object]], rows_in_group: int = 3
) -> None:
    """Write columns, of which ``audio`` has the type that the hub's data sets give it."""
    audio = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    arrays = {
        name: pyarrow.array(values, audio if isinstance(values[0], dict) else None)
        for name, values in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), container, row_group_size=rows_in_group)


def pack_shar(files: Sequence[Path], container: Path) -> list[str]:
    """Let lhotse pack files, of 16 bits, into shards of three."""
    cuts = [lhotse.Recording.from_file(file, recording_id=file.stem).to_cut() for file in files]
    container.mkdir()
    lhotse.CutSet.from_cuts(cuts).to_shar(container, {"recording": "flac"}, shard_size=3)
    return [entry.wav_path for entry in read_shar(container) if isinstance(entry, Entry)]


PACKERS: dict[str, Callable[[Sequence[Path], Path], list[str]]] = {
    "tar": pack_tar,
    "ark": pack_ark,
    "audio.ark": pack_audio_ark,
    "parquet": pack_parquet,
}


def pack_manifest(manifest: Path, kinds: Sequence[str]) -> None:
    """Let the recordings of a manifest lie in containers, of these kinds in turn, beside it."""
    folder = manifest.parent
    rows = [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]
    files = list(dict.fromkeys(folder / row[1] for row in rows))
    names = {}
    for number, kind in enumerate(kinds):
        some = files[number :: len(kinds)]
        names |= dict(zip(some, PACKERS[kind](some, folder / f"all.{kind}"), strict=True))
    for file in files:
        file.unlink()
    for row in rows:
        row[1] = names[folder / row[1]].removeprefix(f"{folder}/")
    manifest.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
