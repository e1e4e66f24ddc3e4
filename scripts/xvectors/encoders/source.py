"""The source of an encoder: its folder or file, and the fingerprint of its contents."""

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xvectors.config.toolkits import is_local, local_path
from xvectors.errors import EncoderError

# Suffixes of files that a toolkit may read when it loads an encoder. Pictures, examples and texts
# about the encoder do not belong to it and do not change its fingerprint.
ENCODER_SUFFIXES = (
    *("yaml", "json", "txt", "py", "ckpt", "pt", "pth", "bin", "model", "safetensors"),
    # ONNX graphs, and the files that large ones keep their weights in.
    *("onnx", "onnx_data", "data"),
)
FINGERPRINT_DIGITS = 32
# ESPnet's checkpoint, the configuration beside it, and the archive that it packs both into.
CHECKPOINT_SUFFIX, CHECKPOINT_CONFIG = ".pth", "config.yaml"
ARCHIVE_SUFFIX = ".zip"
# Errors of zipfile for an archive that is cut off, altered, encrypted or compressed in another way.
DAMAGED_ARCHIVE = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError)


def locate_encoder(pretrained_model: str) -> Path:
    """Return the local folder or file of an encoder. Download it first if it is on the hub."""
    if is_local(pretrained_model):
        return local_path(pretrained_model)
    import huggingface_hub  # noqa: PLC0415 - slow, and needed for the hub only

    name, _, revision = pretrained_model.partition("@")
    try:
        snapshot = huggingface_hub.snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=[f"*.{suffix}" for suffix in ENCODER_SUFFIXES],
        )
    except Exception as error:  # the hub's client raises errors of many libraries
        raise EncoderError(
            f"cannot fetch {pretrained_model!r} from the Hugging Face hub "
            f"({type(error).__name__}), and there is no such folder here; without a network, copy "
            "the encoder's folder here and give its path as xvector.pretrained_model"
        ) from error
    return Path(snapshot)


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """Unpack an archive into a temporary folder; yield other sources unchanged.

    Raises:
        EncoderError: The archive is damaged.

    """
    if source.suffix != ARCHIVE_SUFFIX or not source.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)
        except DAMAGED_ARCHIVE as error:
            raise EncoderError(f"{source}: not an archive, or cut off: {error}") from error
        yield Path(folder)


def encoder_files(source: Path) -> list[Path]:
    """Return the files of an encoder: those of a folder, or a file and its configuration.

    Raises:
        EncoderError: There is no such folder, or it is empty.

    """
    if source.is_file():
        config = source.with_name(CHECKPOINT_CONFIG)
        has_config = source.suffix == CHECKPOINT_SUFFIX and config.is_file()
        return [config, source] if has_config else [source]
    if not source.is_dir():
        raise EncoderError(f"no encoder at {source}: give an existing folder or a hub id")
    visible = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and path.name != "encoder.json"
    ]
    known = [path for path in visible if path.suffix[1:] in ENCODER_SUFFIXES]
    if not visible:
        raise EncoderError(f"{source}: not an encoder, the folder is empty")
    return known or visible


def find_only(source: Path, pattern: str) -> Path:
    """Return a file, or the only file in a folder that matches a pattern such as ``*.pt``.

    Raises:
        EncoderError: No file or several match.

    """
    found = [source] if source.is_file() else sorted(source.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.relative_to(source).as_posix() for path in found)
        hint = f" ({names}); give the path of the one you want as xvector.pretrained_model"
        raise EncoderError(
            f"{source}: {len(found)} {Path(pattern).suffix} files where one is needed"
            + (hint if found else "")
        )
    return found[0]


def fingerprint_of(source: Path) -> str:
    """Return a hash of the names and contents of an encoder's files."""
    digest = hashlib.sha256()
    for path in encoder_files(source):
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\t{content}\n".encode())
    return digest.hexdigest()[:FINGERPRINT_DIGITS]


def files_version(pretrained_model: str | None) -> list[list[str | int]] | None:
    """Return names, sizes and times of an encoder's files, or None if they are not on this machine.

    This shows whether the files may have changed without reading them. An encoder on the hub has no
    local files, and a cluster's node need not see those of the submit host: jobs load the copy.
    """
    if pretrained_model is None:
        return None
    source = local_path(pretrained_model)
    # Unlike Path.exists, this accepts names that are too long for a path.
    if not os.path.exists(source):  # noqa: PTH110
        return None
    statuses = [(path, path.stat()) for path in encoder_files(source)]
    return [[str(path), status.st_size, status.st_mtime_ns] for path, status in statuses]
