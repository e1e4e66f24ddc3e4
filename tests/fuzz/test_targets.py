"""A short round of fuzzing, the same inputs every time, and what long ones have found."""

import struct

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from xvectors.config.settings import XVectorSettings

from .seeds import FILES, MANIFEST, seeds_of
from .targets import CORPUS_FILES, FILE_READERS, SUFFIXES, TARGETS

bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    # What fails is short enough, and making it shorter takes minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
READERS = [*FILE_READERS, *CORPUS_FILES]

# Inputs that were no clear line, when they were found.
DEEP = b"[" * 200_000
ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 8)
)
FOUND = {
    "config": [
        b"a: &a [*a]",
        b"xvector: &a {b: *a}",
        b"xvector: {save_path: " + b"[" * 300 + b"]" * 300 + b"}",
        b"xvector: {nothing: -.inf}",
        b'xvector: {"two\\nlines": 1}',
        b"data_dir: [a]\nxvector: {}",
        b"data_dir: ''\nxvector: {}",
        b"data_dir: ${other}\nother: ''\nxvector: {}",
        b"xvector: {pretrained_model: " + b"a" * 5000 + b"}",
        b"xvector: {save_path: " + b"a" * 5000 + b"}",
        b"xvector: {pretrained_model: /" + b"a/" * 3000 + b"}",
        ALIASES.encode() + b"xvector: {splits: *a7}",
    ],
    "files": [
        *(bytes([READERS.index(name)]) + DEEP for name in ("marker", "shard", "plan", "lhotse")),
        bytes([READERS.index("failures")]) + b"utt_id\twav_path\treason\na\tb\n",
        bytes([READERS.index("table")]),
        bytes([READERS.index("table")]) + b"utt_id\tspeaker_id\tpath\tseconds\na\ts\tb\tx\n",
        bytes([READERS.index("table")]) + b"\xff",
        bytes([READERS.index("kaldi")]) + b"a flac\x03 -x |\n",
    ],
    "manifest": [],
    "containers": [bytes([0]) + b"AUDIO\x01\x00", bytes([2]) + b"PAR1PAR1"],
    "audio": [bytes([SUFFIXES.index(".aac")]) + b"\0"],
}


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy of seeds with pieces put in, pieces cut out, and the end cut off."""

    def mutate(seed: bytes, edits: list[tuple[int, int, bytes]], end: float) -> bytes:
        content = bytearray(seed)
        for place, length, piece in edits:
            start = 1 + place % max(len(content) - 1, 1)
            content[start : start + length] = piece
        return bytes(content[: max(1, round(end * len(content)))])

    # Most of what decides lies in the first bytes.
    place = st.one_of(st.integers(0, 100), st.integers(0, 10_000))
    edit = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))
    end = st.one_of(st.just(1.0), st.floats(0, 1))
    return st.builds(mutate, st.sampled_from(seeds), st.lists(edit, max_size=5), end)


@pytest.mark.parametrize(("target", "data"), [(name, one) for name in FOUND for one in FOUND[name]])
def test_what_was_found(target, data):
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_sound_inputs_pass(target):
    for seed in seeds_of(target):
        TARGETS[target](seed)


@bounded
@given(st.one_of(mutated(seeds_of("manifest")), st.text().map(str.encode), st.binary()))
@example(MANIFEST.replace("text", "\x1b[31m\u2028").encode())
def test_manifests(data):
    TARGETS["manifest"](data)


columns = st.lists(
    st.one_of(st.sampled_from(["a", "b.wav", "start=1", "end=2", "nan", "-1"]), st.text()),
    max_size=7,
)


@bounded
@given(st.lists(columns.map("\t".join), max_size=5).map("\n".join))
def test_manifests_by_columns(text):
    TARGETS["manifest"](text.encode())


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        ["null", "7", "train", "${data_dir}", "${nope}", "${xvector.splits}", "???", "{}"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text() | st.just("train"), inner)),
    max_leaves=5,
)
# Which classes are imported is the user's affair, and not to be tried at random.
own_keys = st.sampled_from(
    [key for key in XVectorSettings.model_fields if key not in ("provider", "runner")]
)
own = st.dictionaries(own_keys | st.text(), values, max_size=4)
configs = st.fixed_dictionaries(
    {"xvector": own | values}, optional={"data_dir": values, "parallel": values, "other": values}
)


@bounded
@given(configs)
def test_configs(config):
    TARGETS["config"](yaml.safe_dump(config, allow_unicode=True).encode("utf-8", "replace"))


@bounded
@given(mutated(seeds_of("containers")))
def test_containers(data):
    TARGETS["containers"](data)


@bounded
@given(mutated(seeds_of("audio")))
def test_audio(data):
    TARGETS["audio"](data)


numbers = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 8000, 2**31, 2**32 - 1]))
shorts = numbers.map(lambda number: number % 2**16)


def wav(numbers: list[int], content: bytes) -> bytes:
    """Return a WAV file: size, kind, channels, rate, bytes a second, block, bits, size of data."""
    size, kind, channels, rate, speed, block, bits, data = numbers
    shorts = [number % 2**16 for number in (kind, channels, block, bits)]
    kind, channels, block, bits = shorts
    form = struct.pack("<HHIIHH", kind, channels, rate, speed, block, bits)
    header = struct.pack("<4sI8sI", b"RIFF", size, b"WAVEfmt ", len(form)) + form
    return header + struct.pack("<4sI", b"data", data) + content


sizes = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 8000, 2**31, 2**32 - 1]))
kinds = st.sampled_from([1, 2, 3, 6, 7, 17, 49, 0xFFFE])
small = st.one_of(st.sampled_from([0, 1, 2, 4, 8, 16, 24, 32, 64, 1024]), sizes)


@bounded
@given(st.tuples(sizes, kinds, small, sizes, sizes, small, small, sizes), st.binary(max_size=2000))
@example((36, 1, 1, 2**32 - 1, 0, 2, 16, 2**32 - 1), bytes(2000))
@example((36, 3, 1, 16000, 64000, 4, 32, 2000), b"\x00\x00\xc0\x7f" * 500)
@example((36, 1, 1, 44101, 88202, 2, 16, 2000), bytes(2000))
@example((36, 1, 0, 16000, 32000, 2, 16, 2000), bytes(2000))
def test_headers_that_lie(numbers, content):
    TARGETS["audio"](bytes([SUFFIXES.index(".wav")]) + wav(numbers, content))


@bounded
@given(mutated(seeds_of("files")))
def test_files(data):
    TARGETS["files"](data)


@bounded
@given(st.sampled_from(sorted(FILES)), st.text(max_size=200))
def test_files_of_any_text(name, text):
    TARGETS["files"](bytes([READERS.index(name)]) + text.encode())
