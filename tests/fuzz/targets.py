"""What is fuzzed: readers of what users bring, fed with any bytes.

For any bytes, the reader returns what its documentation says, or raises an error of the project's
own, a clear line for each problem. All else (another exception, a hang, memory without bound,
another answer to the same bytes) is a finding.
"""

import math
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from xvectors.audio.opening import AUDIO_SUFFIXES, durations
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.corpora.kinds import READERS, read_corpus
from xvectors.errors import UtteranceError, XVectorsError
from xvectors.manifest.lines import MAX_UTT_ID_BYTES
from xvectors.manifest.reading import hash_manifest, read_manifest
from xvectors.results.tables import load_embedding, read_embedded, read_failures
from xvectors.run.checks import check_config
from xvectors.sharding.index_shards import read_index_shard, read_plan
from xvectors.sharding.markers import read_marker
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import read_provenance
from xvectors.verification.trials import read_trials

RATE = 16000
SUFFIXES = sorted(AUDIO_SUFFIXES)
# What one file of some kilobytes may add to the memory of a process, in bytes.
MAX_GROWTH = 1.5e9
CORPUS_FILES = {
    "ljspeech": "metadata.csv",
    "kaldi": "wav.scp",
    "lhotse": "cuts.jsonl",
    "espnet3": "train.tsv",
}
CORPUS_FOLDERS = {"ljspeech", "kaldi"}
# A container of each kind of corpus, by the suffix of its file; Shar's is beside a file of cuts.
CONTAINER_CORPORA = {"tar": "webdataset", "parquet": "parquet", "shar": "shar"}
CONTAINERS = ["ark", *CONTAINER_CORPORA]
SHAR_CUTS = "".join(
    f'{{"id": "{name}", "type": "MonoCut", "start": 0, "duration": 0.05, "channel": 0, '
    '"recording": {"id": "r", "sources": [{"type": "shar", "channels": [0], "source": ""}]}}\n'
    for name in ("wav", "flac")
)
# Members of a container that are read.
MAX_MEMBERS = 5

normalizer = Normalizer(RATE)


def fuzz_manifest(data: bytes) -> None:
    """Read a manifest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.tsv")
        path.write_bytes(data)
        try:
            manifest = read_manifest(path)
        except XVectorsError as error:
            check_lines(error, f"{path}:")
            return
        utterances = list(manifest.utterances)
        assert manifest.digest == hash_manifest(path)
    assert utterances
    utt_ids = [utterance.utt_id for utterance in utterances]
    assert len(set(utt_ids)) == len(utt_ids)
    for utt_id, wav_path, _, seconds, segment in utterances:
        assert 0 < len(utt_id.encode()) <= MAX_UTT_ID_BYTES
        assert Path(utt_id).name == utt_id
        assert not utt_id.startswith(".")
        assert wav_path
        assert not {"\0", "\n", "\t"} & set(utt_id + wav_path)
        assert seconds is None or 0 < seconds < math.inf
        assert segment is None or 0 <= segment.start < segment.end < math.inf


def fuzz_config(data: bytes) -> None:
    """Read a configuration, as Snakemake hands it over."""
    try:
        raw = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        return  # Snakemake's to refuse.
    if not isinstance(raw, dict):
        return
    try:
        settings = resolve_config(raw, "my.yaml")
    except XVectorsError as error:
        check_lines(error, "my.yaml:")
        return
    assert resolve_config(settings.as_omegaconf()).xvector == settings.xvector
    assert Layout.of(settings).root.parent == Path(settings.xvector.save_path)
    try:
        check_config(settings, "my.yaml")
    except XVectorsError as error:
        check_lines(error, "my.yaml:")


def fuzz_audio(data: bytes) -> None:
    """Read a signal; the first byte says which suffix the file has."""
    suffix = SUFFIXES[data[0] % len(SUFFIXES)] if data else ".wav"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(data[1:])
        before = peak_memory()
        (seconds,) = durations([str(path)])
        first, second = signal_or_reason(path), signal_or_reason(path)
        growth = peak_memory() - before
    assert 0 <= seconds < math.inf
    assert growth < MAX_GROWTH, f"{growth / 1e9:.1f} GB"
    if isinstance(first, str):
        assert first == second
        return
    assert isinstance(second, torch.Tensor)
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert first.dim() == 1
    assert len(first) > 0
    assert bool(torch.isfinite(first).all())


def fuzz_files(data: bytes) -> None:
    """Read tables, lists, descriptions, corpora; the first byte says which."""
    number, content = (data[0], data[1:]) if data else (0, b"")
    readers = [*FILE_READERS.values(), *(corpus_reader(kind) for kind in CORPUS_FILES)]
    with tempfile.TemporaryDirectory() as folder:
        readers[number % len(readers)](Path(folder), content)


def fuzz_containers(data: bytes) -> None:
    """List a container, and read what is in it; the first byte says of which kind it is."""
    number, content = (data[0], data[1:]) if data else (0, b"")
    kind = CONTAINERS[number % len(CONTAINERS)]
    with tempfile.TemporaryDirectory() as folder:
        path = place = Path(folder, f"a.{kind}")
        if kind == "shar":
            Path(folder, "cuts.0.jsonl").write_text(SHAR_CUTS)
            path, place = Path(folder, "recording.0.tar"), Path(folder)
        path.write_bytes(content)
        before = peak_memory()
        members = [f"{path}:0"]
        if kind != "ark":
            try:
                found = read_corpus({"kind": CONTAINER_CORPORA[kind], "path": str(place)})
            except XVectorsError as error:
                check_lines(error, str(place))
                return
            members = [entry.wav_path for entry in found]
        for member in members[:MAX_MEMBERS]:
            first, second = signal_or_reason(Path(member)), signal_or_reason(Path(member))
            assert type(first) is type(second)
            if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
                assert torch.equal(first, second)
            else:
                assert first == second
        growth = peak_memory() - before
    assert growth < MAX_GROWTH, f"{growth / 1e9:.1f} GB"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": fuzz_manifest,
    "config": fuzz_config,
    "audio": fuzz_audio,
    "files": fuzz_files,
    "containers": fuzz_containers,
}


def check_lines(error: XVectorsError, beginning: str = "") -> None:
    """Check that a message is a clear line for each problem, each of which says where it is."""
    lines = str(error).splitlines()
    assert lines
    assert lines == str(error).split("\n")
    for line in lines:
        assert line.isprintable(), repr(line)
        assert line.startswith(beginning), line


def signal_or_reason(path: Path) -> torch.Tensor | str:
    """Return the signal of an audio file, or in a line why there is none."""
    try:
        return read_signal(str(path), normalizer).samples
    except UtteranceError as error:
        check_lines(error)
        return str(error)


def peak_memory() -> float:
    """Return the most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def file_reader(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    """Return a target that writes a file and reads it."""

    def target(folder: Path, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        try:
            read(path)
        except XVectorsError as error:
            check_lines(error, str(path))

    return target


def corpus_reader(kind: str) -> Callable[[Path, bytes], None]:
    """Return a target that reads a corpus of a kind, of which one file is given."""

    def target(folder: Path, content: bytes) -> None:
        path = folder / CORPUS_FILES[kind]
        path.write_bytes(content)
        place = folder if kind in CORPUS_FOLDERS else path
        try:
            assert read_corpus({"kind": kind, "path": str(place)})
        except XVectorsError as error:
            check_lines(error, str(place))

    assert kind in READERS
    return target


FILE_READERS = {
    "trials": file_reader("trials.txt", read_trials),
    "marker": file_reader("0-of-1.done", read_marker),
    "shard": file_reader("0-of-1.json", read_index_shard),
    "plan": file_reader("train.json", read_plan),
    "table": file_reader("train.tsv", lambda path: list(read_embedded(path))),
    "failures": file_reader("train.failed.tsv", lambda path: list(read_failures(path))),
    "embedding": file_reader("a.pt", lambda path: load_embedding(str(path))),
    "provenance": file_reader("a.pt", lambda path: parse_provenance(read_provenance(path))),
}
