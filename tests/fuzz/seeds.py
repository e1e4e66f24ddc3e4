"""Sound inputs to begin with: small files of every kind that a target reads."""

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from tests.support.containers import pack_ark, pack_audio_ark, pack_parquet, pack_tar
from tests.support.encoded_audio import encode
from xvectors.files.json_text import dump_checksummed

from .targets import CORPUS_FILES, FILE_READERS, SUFFIXES

MANIFEST = (
    "a\ta.wav\ttext\ts1\n\n"
    "b b\t/abs/b{}.wav\tünï\ts2\tseconds=1.5\n"
    "c\tr.flac\t\ts\tseconds=9\tstart=1.5\tend=2.75\n"
)
CONFIGS = [
    {"xvector": {"pretrained_model": "a/b@c", "batch_size": None, "n_shards": {"train": 3}}},
    {"data_dir": "${base}/x", "base": "d", "parallel": {"n_workers": 4}, "xvector": {}},
    {"xvector": {"splits": ["a", "b"], "manifest_paths": {"a": "a.tsv"}, "trials": {"t": "t.txt"}}},
    {
        "xvector": {
            "toolkit": "rawnet",
            "pretrained_model": "x.pt",
            "spk_embed_tag": "my tag",
            "device": "cuda:1",
            "corpora": {"train": {"kind": "folder", "path": ".", "pattern": "{speaker}/*.wav"}},
            "splits": ["train"],
            "exports": ["kaldi"],
            "cohort": "train",
        }
    },
]
FILES = {
    "trials": b"1 a b\n0 a c\na c target\n",
    "marker": (
        b'{"n_utterances": 1, "n_written": 1, "n_skipped": 0, "n_failed": 0, "audio_seconds": 1.5,'
        b'"startup_seconds": 1.0, "wall_seconds": 1.0, "device": "cpu", "precision": "fp32",'
        b'"encoder": null, "numerics": {}, "failures": [{"utt_id": "a", "wav_path": "b",'
        b'"reason": "c"}]}'
    ),
    "shard": (
        b'{"positions":[0],"utt_ids":["a"],"wav_paths":["a.wav"],"segments":[[0.5,1]],'
        b'"seconds":[1.5],"audio":"00"}'
    ),
    "plan": b'{"n_shards":1,"n_utterances":1,"audio_seconds":1.5,"manifest":"00"}',
    "table": b"utt_id\tspeaker_id\tpath\tseconds\na\ts\t/a.pt\t1.5000\n",
    "failures": b"utt_id\twav_path\treason\na\ta.wav\tfile missing\n",
    "ljspeech": b"LJ001|one|two\n",
    "kaldi": b"a flac -c -d a.flac |\nb /b.wav\n",
    "lhotse": (
        b'{"id":"a","sources":[{"type":"file","channels":[0],"source":"a.wav"}],"duration":1}\n'
        b'{"id":"c","type":"MonoCut","start":0,"duration":1,"recording":{"id":"a","duration":2,'
        b'"sources":[{"type":"file","channels":[0],"source":"a.wav"}]},"supervisions":[{"id":"s",'
        b'"start":0,"duration":1,"speaker":"x"}]}\n'
    ),
    "espnet3": b"a\ta.wav\ttext\ts1\n",
}
# What only FFmpeg reads: suffix, format, encoder and rate in Hz.
ENCODED = [
    (".aac", "adts", "aac", 16000),
    (".m4a", "mp4", "aac", 16000),
    (".m4b", "mp4", "alac", 8000),
    (".webm", "webm", "libopus", 48000),
    (".mka", "matroska", "flac", 16000),
    (".wma", "asf", "wmav2", 16000),
    (".wv", "wv", "wavpack", 8000),
    (".mp2", "mp2", "mp2", 16000),
]


def seeds_of(target: str) -> list[bytes]:
    """Return sound inputs of a target."""
    makers = {
        "manifest": _manifests,
        "config": _configs,
        "audio": _audio,
        "files": _files,
        "containers": _containers,
    }
    return list(makers[target]())


def _manifests() -> Iterator[bytes]:
    yield MANIFEST.encode()
    yield b"\xef\xbb\xbfa\ta.wav\ttext\ts1\r\nb\tb.wav\ttext\ts1"


def _configs() -> Iterator[bytes]:
    for config in CONFIGS:
        yield yaml.safe_dump(config).encode()


def _audio() -> Iterator[bytes]:
    generator = np.random.default_rng(0)
    for number, suffix in enumerate(SUFFIXES):
        kind = {".aif": "AIFF", ".oga": "OGG", ".opus": "OGG", ".sph": "NIST"}.get(
            suffix, suffix[1:].upper()
        )
        if kind not in soundfile.available_formats():
            continue
        for subtype in soundfile.available_subtypes(kind):
            for channels, rate in ((1, 8000), (2, 16000)):
                file = io.BytesIO()
                try:
                    samples = generator.normal(0, 0.1, (400, channels))
                    soundfile.write(file, samples, rate, subtype, format=kind)
                except soundfile.LibsndfileError:
                    continue  # A kind that is for other rates or numbers of channels, or read only.
                yield bytes([number]) + file.getvalue()
    for suffix, kind, codec, rate in ENCODED:
        content = encode(generator.normal(0, 0.1, (400, 1)), rate, kind, codec)
        yield bytes([SUFFIXES.index(suffix)]) + content


def _files() -> Iterator[bytes]:
    embedding = io.BytesIO()
    torch.save(torch.ones(3), embedding)
    contents = FILES | {"embedding": embedding.getvalue(), "provenance": embedding.getvalue()}
    contents |= {
        name: dump_checksummed(json.loads(FILES[name])) for name in ("marker", "shard", "plan")
    }
    for number, name in enumerate([*FILE_READERS, *CORPUS_FILES]):
        yield bytes([number]) + contents[name]


def _containers() -> Iterator[bytes]:
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        recordings = [Path(folder, f"{kind}.{kind}") for kind in ("wav", "flac")]
        for path in recordings:
            soundfile.write(path, generator.normal(0, 0.1, 400), 8000)
        sphere = Path(folder, "sph.wav")
        soundfile.write(sphere, generator.normal(0, 0.1, 400), 8000, format="NIST")
        yield bytes([0]) + sphere.read_bytes()
        packers = [
            (0, pack_ark),
            (0, pack_audio_ark),
            (1, pack_tar),
            (2, pack_parquet),
            (3, pack_tar),
        ]
        for number, pack in packers:
            container = Path(folder, "container")
            pack(recordings, container)
            # A recording in an archive begins behind its name.
            start = len("wav ") if number == 0 else 0
            yield bytes([number]) + container.read_bytes()[start:]
