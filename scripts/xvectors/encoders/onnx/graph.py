"""ONNX graphs of speaker encoders: their inputs, outputs and metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from numpy.typing import NDArray

from xvectors.config.settings import FRONTENDS, Frontend
from xvectors.encoders.source import find_only
from xvectors.errors import EncoderError, first_line

FLOATS = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16}
INTEGERS = {"tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32}
# Names of the output that is the embedding, where a graph has others too.
EMBEDDINGS = ("embs", "embedding", "embeddings")
# Frameworks by their names in the metadata of sherpa-onnx, and their normalizations.
FRAMEWORKS = {"wespeaker": "wespeaker", "3d-speaker": "3dspeaker", "nemo": "nemo"}
NORMALIZATIONS = {
    "wespeaker": ("", "global-mean"),
    "3dspeaker": ("", "global-mean"),
    "nemo": ("per_feature",),
}
# Further metadata of NeMo's features, which are computed in this way only.
NEMO = {"window_size_ms": "25", "window_stride_ms": "10", "window_type": "hann"}
# Lengths in frames on which a graph is tried. A graph that takes samples gets `SAMPLES_PER_FRAME`
# for each frame.
TRIED_LENGTHS = (96, 160)
SAMPLES_PER_FRAME = 160
# Largest difference of a signal's embeddings alone and in a batch, of the largest element.
MAX_DIFFERENCE = 1e-5
GPU_PROVIDER = "CUDAExecutionProvider"
# Messages of onnxruntime that mean a lack of memory.
OUT_OF_MEMORY_SIGNS = ("Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")

Array = NDArray[Any]


class Graph:
    """A graph, with the front end that it was trained with.

    Attributes:
        path: The file.
        frontend: What it gets: as configured, or as its metadata say.
        max_batch: The number of signals of equal length that it takes at a time, None for any.

    """

    max_batch: int | None

    def __init__(self, source: Path, frontend: Frontend | None, device: str = "cpu") -> None:
        """Load a graph from a file or a folder with one, and try it.

        Raises:
            EncoderError: It cannot be loaded, is not of a speaker encoder, or does not fit the
                front end.

        """
        self.path = find_only(source, "**/*.onnx")
        self._session = _open(self.path, device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.frontend = frontend or _described_frontend(metadata, self.path)
        self._input = _find_input(self._session.get_inputs(), self.frontend, self.path)
        self._output = _find_output(self._session.get_outputs(), self.path)
        self.max_batch = self._input.max_batch
        self._try_out(metadata.get("output_dim"))

    def run(self, features: Array, length: int) -> Array:
        """Return the embeddings, float32, (signals, dim), of (signals, frames, bins) or of samples.

        Of each signal's frames or samples, `length` are not padding. Several threads may call this
        at once.

        Raises:
            MemoryError: The device has not enough memory.
            RuntimeError: The graph fails on this input.

        """
        feed = self._input.feed(features, length)
        try:
            (found,) = self._session.run([self._output], feed)
        except Exception as error:  # its exceptions have no class in common
            if any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS):
                raise MemoryError(first_line(error)) from error
            raise RuntimeError(f"onnxruntime: {first_line(error)}") from error
        return numpy.asarray(found, numpy.float32).reshape(len(features), -1)

    def _try_out(self, stated_dim: str | None) -> None:
        """Embed noise of two lengths.

        Set `max_batch` to 1 if an embedding depends on the others in its batch.

        Raises:
            EncoderError: It fails, or what comes out is not an embedding.

        """
        short, long = (self._noise(length) for length in TRIED_LENGTHS)
        try:
            alone = numpy.concatenate([self.run(one[None], len(one)) for one in short])
            dims = {alone.shape[1], self.run(long[:1], long.shape[1]).shape[1]}
        except (RuntimeError, ValueError) as error:
            raise EncoderError(f"{self.path}: fails on noise: {first_line(error)}") from error
        if len(dims) > 1:
            raise EncoderError(
                f"{self.path}: its output {self._output} depends on the length of the signal "
                f"({dims} values); a speaker encoder gives one vector per utterance"
            )
        if not numpy.isfinite(alone).all():
            raise EncoderError(f"{self.path}: gives NaN or infinite numbers for noise")
        if stated_dim and stated_dim != str(alone.shape[1]):
            raise EncoderError(
                f"{self.path}: its metadata state {stated_dim} values per embedding, it gives "
                f"{alone.shape[1]}"
            )
        if self.max_batch is None and not self._matches_alone(short, alone):
            self.max_batch = 1

    def _noise(self, n_frames: int) -> Array:
        """Return noise as features of two signals."""
        generator = numpy.random.default_rng(0)
        is_raw = self.frontend.features == "raw"
        shape = (n_frames * SAMPLES_PER_FRAME,) if is_raw else (n_frames, self.frontend.mel_bins)
        return generator.standard_normal((2, *shape), dtype=numpy.float32)

    def _matches_alone(self, batch: Array, alone: Array) -> bool:
        """Tell whether a batch has the embeddings of its signals alone."""
        try:
            together = self.run(batch, batch.shape[1])
        except (RuntimeError, ValueError):
            return False
        if together.shape != alone.shape:
            return False
        difference = numpy.abs(together - alone).max(1) / numpy.abs(alone).max(1)
        return bool(difference.max() <= MAX_DIFFERENCE)


def check_graph(source: Path, frontend: Frontend | None) -> None:
    """Check that the graph at `source` is a speaker encoder that fits the front end.

    Raises:
        EncoderError: It cannot be loaded, or does not fit.

    """
    Graph(source, frontend)


@dataclass(frozen=True)
class _Input:
    """The input of a graph: name and type of the features, and of their length if it is asked for.

    The bins of transposed ones come before the frames. Samples may have an axis of one channel.
    `max_batch` is 1 where the batch's size is fixed, else None.
    """

    name: str
    dtype: Any
    is_transposed: bool
    has_channel: bool
    max_batch: int | None
    length: tuple[str, Any] | None

    def feed(self, features: Array, length: int) -> dict[str, Array]:
        """Return the inputs by name."""
        values = features.transpose(0, 2, 1) if self.is_transposed else features
        values = values[:, None] if self.has_channel else values
        found: dict[str, Array] = {self.name: numpy.ascontiguousarray(values, self.dtype)}
        if self.length:
            name, dtype = self.length
            found[name] = numpy.full(len(features), length, dtype)
        return found


def _open(path: Path, device: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Signals go side by side, each in a thread of its own.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Failures are raised. Without this they would be printed, too.
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and GPU_PROVIDER in onnxruntime.get_available_providers():
        number = device.partition(":")[2] or "0"
        providers.insert(0, (GPU_PROVIDER, {"device_id": number, "use_tf32": "0"}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions have no class in common
        raise EncoderError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {first_line(error)}"
        ) from error
    # A provider that fails is left out without an error.
    if device != "cpu" and GPU_PROVIDER not in session.get_providers():
        raise EncoderError(
            f"xvector.device: onnxruntime {onnxruntime.__version__} cannot use {device} here (does "
            "it fit the CUDA of this machine?); use xvector.device: cpu"
        )
    return session


def _described_frontend(metadata: Mapping[str, str], path: Path) -> Frontend:
    """Return the front end that sherpa-onnx's metadata describe.

    Raises:
        EncoderError: They are missing, or describe features that are not computed here.

    """
    choice = f"set xvector.frontend to one of {', '.join(FRONTENDS)}, or to a map of settings"
    framework = metadata.get("framework", "")
    name = FRAMEWORKS.get(framework)
    if name is None:
        told = f"name the framework {framework!r}" if framework else "do not name its front end"
        raise EncoderError(f"{path}: its metadata {told}; {choice}")
    expected = {"feature_normalize_type": NORMALIZATIONS[name]}
    if name == "nemo":
        expected |= {key: (value,) for key, value in NEMO.items()}
    for key, values in expected.items():
        if metadata.get(key, values[0]) not in values:
            raise EncoderError(
                f"{path}: its metadata say {key}: {metadata[key]}, which {name} does not have; "
                f"{choice}"
            )
    given = {"sample_rate": metadata.get("sample_rate"), "mel_bins": metadata.get("feat_dim")}
    given["normalize_samples"] = metadata.get("normalize_samples")
    if not all(value is None or value.isdecimal() for value in given.values()):
        raise EncoderError(
            f"{path}: its metadata give a sample_rate, feat_dim or normalize_samples that "
            f"is not a whole number; {choice}"
        )
    changes: dict[str, Any] = {key: int(value) for key, value in given.items() if value}
    if "normalize_samples" in changes:
        changes["normalize_samples"] = bool(changes["normalize_samples"])
    return FRONTENDS[name].model_copy(update=changes)


def _find_input(inputs: Sequence[Any], frontend: Frontend, path: Path) -> _Input:
    """Return what a graph takes, if the front end gives it.

    Raises:
        EncoderError: It takes something else.

    """
    takes = ", ".join(_described(one) for one in inputs)
    features = [one for one in inputs if one.type in FLOATS]
    lengths = [one for one in inputs if one.type in INTEGERS]
    is_raw = frontend.features == "raw"
    if len(features) != 1 or len(lengths) > 1 or len(features) + len(lengths) != len(inputs):
        raise EncoderError(
            f"{path}: takes {takes}; a speaker encoder takes a signal or its features, and at "
            "most their length"
        )
    (one,) = features
    batch, *axes = one.shape or [None]
    has_channel = is_raw and len(axes) == 2 and axes[0] == 1  # noqa: PLR2004
    n_axes = 1 if is_raw and not has_channel else 2
    if len(axes) != n_axes:
        wanted = "samples" if is_raw else f"frames of {frontend.mel_bins} values"
        raise EncoderError(f"{path}: takes {takes}, and xvector.frontend gives {wanted}")
    if isinstance(batch, int) and batch != 1:
        raise EncoderError(f"{path}: takes {batch} signals at a time: {takes}")
    is_transposed = not is_raw and _is_transposed(axes, frontend)
    if not is_raw:
        bins, frames = axes if is_transposed else axes[::-1]
        if isinstance(bins, int) and bins != frontend.mel_bins:
            raise EncoderError(
                f"{path}: takes {takes}, and xvector.frontend gives {frontend.mel_bins} values "
                "per frame (mel_bins)"
            )
    else:
        frames = axes[-1]
    if isinstance(frames, int):
        raise EncoderError(f"{path}: takes signals of one length only: {takes}")
    return _Input(
        name=one.name,
        dtype=FLOATS[one.type],
        is_transposed=is_transposed,
        has_channel=has_channel,
        max_batch=1 if isinstance(batch, int) else None,
        length=(lengths[0].name, INTEGERS[lengths[0].type]) if lengths else None,
    )


def _is_transposed(axes: Sequence[Any], frontend: Frontend) -> bool:
    """Tell whether the first axis is that of the bins: by its size, or else as the project does."""
    first, second = axes
    if frontend.mel_bins in axes:
        return bool(second != frontend.mel_bins)
    if isinstance(first, int) != isinstance(second, int):
        return isinstance(first, int)
    return frontend.features == "nemo"


def _find_output(outputs: Sequence[Any], path: Path) -> str:
    floats = [one for one in outputs if one.type in FLOATS]
    named = [one for one in floats if one.name in EMBEDDINGS]
    found = named if len(named) == 1 else floats
    if len(found) != 1:
        gives = ", ".join(_described(one) for one in outputs)
        raise EncoderError(
            f"{path}: gives {gives}; a speaker encoder gives one output, or one of them is named "
            f"{' or '.join(EMBEDDINGS)}"
        )
    return str(found[0].name)


def _described(one: Any) -> str:
    """Return an input or output in words: ``feats, float (B, T, 80)``."""
    kind = str(one.type).removeprefix("tensor(").removesuffix(")")
    axes = ", ".join("?" if axis is None else str(axis) for axis in one.shape or ())
    return f"{one.name}: {kind} ({axes})"
