"""The provider and the runner of speaker embeddings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from xvectors.audio.signal import Segment, Signal
from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import collect_numerics
from xvectors.encoders.source import fingerprint_of, locate_encoder
from xvectors.errors import ConfigError, ShardError, TaskError, UtteranceError
from xvectors.manifest.reading import locate_audio, read_manifest
from xvectors.manifest.utterances import LazyColumn, Utterances, UtterancesOfSpeakers
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.provenance import EmbeddingSource
from xvectors.storage.pt_file import load_vector
from xvectors.tasks.incremental import (
    Embedding,
    IncrementalPipeline,
    OutputCheck,
    Target,
    failure_reason,
)
from xvectors.tasks.pipeline import MAX_LOADED_BYTES, Pipeline, run_by_batch
from xvectors.tasks.provider import Environment, EnvironmentProvider
from xvectors.tasks.runner import BaseRunner, Outcome


class XVectorProvider(EnvironmentProvider):
    """Builds the environment for speaker embeddings.

    The environment holds ``model`` (an `Encoder`), ``toolkit``, ``device``, ``utterances`` (a
    list of ``(utt_id, wav_path)``, the path ready to be opened), ``segments`` (for each of them
    its part of the file, None for all of it), ``speaker_to_utterances`` (a dict from speaker to
    utt_ids), ``output_dir`` and ``source`` (the `EmbeddingSource`). In a worker, lists and dict
    are read from the manifest on demand.
    """

    def build_env_local(self) -> Environment:
        """Load the encoder, read and check the manifest, and make the output folder."""
        lines = read_manifest(_manifest_path(self.params)).utterances
        env = _build_environment(self.config, self.params, lines)
        for name in ("utterances", "segments"):
            env[name] = list(env[name])
        env["speaker_to_utterances"] = dict(env["speaker_to_utterances"])
        return env

    def build_worker_setup_fn(self) -> Callable[[], Environment]:
        """Return a picklable function that builds the same environment.

        A run has checked the manifest before its workers begin, so they look up only the lines
        that they need.
        """
        return partial(_build_worker_environment, self.config, dict(self.params))


def _build_worker_environment(config: DictConfig, params: Mapping[str, Any]) -> Environment:
    return _build_environment(config, params, Utterances(_manifest_path(params)))


def _manifest_path(params: Mapping[str, Any]) -> Path:
    missing = {"manifest_path", "output_dir"} - set(params)
    if missing:
        raise TaskError(f"XVectorProvider: params lacks {', '.join(sorted(missing))}")
    return Path(params["manifest_path"])


def _build_environment(
    config: DictConfig, params: Mapping[str, Any], lines: Utterances
) -> Environment:
    # Only here, because they import torch.
    from xvectors.encoders.device import choose_device  # noqa: PLC0415
    from xvectors.encoders.encoder import load_encoder  # noqa: PLC0415
    from xvectors.encoders.silero.detector import SileroDetector  # noqa: PLC0415

    settings = resolve_config(config)
    xvector = settings.xvector
    if xvector.pretrained_model is None:
        raise ConfigError("xvector.pretrained_model: XVectorProvider needs an encoder")
    segments = LazyColumn(lines, lambda one: one.segment)
    wav_paths = LazyColumn(lines, lambda one: one.wav_path)
    output_dir = Path(params["output_dir"])
    output_dir.mkdir(parents=True, exist_ok=True)
    encoder = locate_encoder(xvector.pretrained_model)
    device = choose_device(xvector.device)
    model = load_encoder(xvector.toolkit, encoder, device, xvector.precision, xvector.frontend)
    if xvector.vad == "silero":
        model.embed_speech_alone(SileroDetector())
    return {
        "model": model,
        "toolkit": xvector.toolkit,
        "device": device,
        "utterances": LazyColumn(
            lines, lambda one: (one.utt_id, locate_audio(lines.path, one.wav_path))
        ),
        "segments": segments,
        "speaker_to_utterances": UtterancesOfSpeakers(lines),
        "output_dir": output_dir,
        "source": EmbeddingSource(
            collect_numerics(settings), partial(fingerprint_of, encoder), wav_paths, segments
        ),
    }


OutputPath = Callable[[Path, str], Path]
Segments = Sequence[Segment | None] | None


class XVectorRunner(BaseRunner):
    """Writes one speaker embedding per utterance, and skips those that are current."""

    @staticmethod
    def forward(  # type: ignore[override]
        idx: int | list[int],
        *,
        model: Any,
        utterances: Sequence[tuple[str, str]],
        output_dir: Path,
        segments: Segments = None,
        source: EmbeddingSource | None = None,
        output_path: OutputPath | None = None,
        **_: Any,
    ) -> Outcome | list[Outcome]:
        """Embed one utterance or several and write ``<output_dir>/<utt_id>.pt``.

        Args:
            idx: Position or positions in the manifest.
            model: The `Encoder`.
            utterances: Pairs of utt_id and path of the audio file.
            output_dir: Folder of the embeddings.
            segments: For each utterance its part of the file, None for all of it; without them
                every utterance is all of its file.
            source: The `EmbeddingSource`. Without it embeddings carry no provenance, and none is
                skipped.
            output_path: As `BaseRunner.output_path`, for subclasses that write elsewhere.

        Returns:
            An outcome, or a list of them, one per index. An utterance that cannot be embedded has
            the status ``failed``; the others are not affected.

        """
        pipeline = storing_pipeline(
            model=model,
            utterances=utterances,
            output_dir=output_dir,
            segments=segments,
            source=source,
            output_path=output_path,
        )
        indices = [idx] if isinstance(idx, int) else idx
        outcomes: list[Outcome] = []
        for batch in run_by_batch(pipeline, indices, len(indices) or 1, MAX_LOADED_BYTES // 2):
            for index, outcome in batch:
                if isinstance(outcome, BaseException):
                    reason, utt_id = failure_reason(outcome), utterances[index][0]
                    outcomes.append({"utt_id": utt_id, "status": "failed", "reason": reason})
                else:
                    outcome.pop("decoded", None)
                    outcomes.append(outcome)
        return outcomes[0] if isinstance(idx, int) else outcomes

    @staticmethod
    def pipeline(  # type: ignore[override]
        *, model: Any, utterances: Sequence[tuple[str, str]], segments: Segments = None
    ) -> Pipeline:
        """Return reading and embedding, with the arguments of `forward`.

        Its outcomes are of the type `Embedding`, which a shard job stores.
        """
        return XVectorPipeline(model, utterances, segments)

    @staticmethod
    def check_output(path: Path) -> None:
        """Raise an exception unless the file holds an embedding: float32, 1-D, finite."""
        if not np.isfinite(load_vector(path)).all():
            raise ValueError("holds NaN or infinite numbers")


class XVectorPipeline(Pipeline):
    """Reads signals and embeds them in batches."""

    def __init__(
        self, encoder: Any, utterances: Sequence[tuple[str, str]], segments: Segments
    ) -> None:
        self.encoder = encoder
        self.utterances = utterances
        self.segments = segments

    def load(self, index: int) -> Signal:
        """Read an utterance's signal."""
        _, audio_path = _utterance(self.utterances, index)
        segment = self.segments[index] if self.segments else None
        signal: Signal = self.encoder.read(audio_path, segment)
        return signal

    def compute(self, items: list[Signal]) -> Sequence[Any]:
        """Return the embeddings, shape (signals, dim)."""
        embeddings: Sequence[Any] = self.encoder.embed(items)
        return embeddings

    def store(self, item: Signal, result: Any) -> Embedding:
        """Return an embedding if it is sound."""
        if result.ndim != 1:
            raise UtteranceError(f"the embedding has the shape {tuple(result.shape)}")
        if not bool(result.isfinite().all()):
            raise UtteranceError("the embedding is not finite")
        return Embedding(result, item.decoded)

    def n_bytes(self, item: Signal) -> int:
        """Return the bytes of a signal."""
        return int(item.samples.nbytes)


def storing_pipeline(
    *,
    model: Any,
    utterances: Sequence[tuple[str, str]],
    output_dir: Path,
    segments: Segments = None,
    source: EmbeddingSource | None = None,
    output_path: OutputPath | None = None,
) -> IncrementalPipeline:
    """Return `XVectorRunner.forward` as a pipeline, with the same arguments."""
    place = output_path or XVectorRunner.output_path
    storage = FileStorage(Path(output_dir), place, XVectorRunner.check_output)

    def target_of(index: int) -> Target:
        utt_id, audio_path = _utterance(utterances, index)
        return Target(utt_id, audio_path, source.provenance(index) if source else None)

    return IncrementalPipeline(
        XVectorRunner.pipeline(model=model, utterances=utterances, segments=segments),
        OutputCheck(target_of, storage),
    )


def _utterance(utterances: Sequence[tuple[str, str]], index: int) -> tuple[str, str]:
    try:
        return utterances[index]
    except IndexError as error:
        raise ShardError(
            f"there is no utterance {index}, the manifest has {len(utterances)}. If that has "
            "changed, rerun the same command"
        ) from error
