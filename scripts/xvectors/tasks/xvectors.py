"""The provider and the runner of speaker embeddings."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from xvectors.audio.signal import Segment, Signal
from xvectors.audio.versions import check_audio
from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import collect_numerics
from xvectors.encoders.source import fingerprint_of, locate_encoder
from xvectors.errors import ConfigError, ShardError, TaskError, UtteranceError
from xvectors.files.run_lock import RUN_VARIABLE
from xvectors.manifest.reading import locate_audio, read_manifest
from xvectors.manifest.utterances import LazyColumn, Utterances, UtterancesOfSpeakers
from xvectors.storage.base import Storage
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.provenance import EmbeddingSource
from xvectors.storage.pt_file import load_vector
from xvectors.tasks.pipeline import Pipeline, run_sequential
from xvectors.tasks.provider import Environment, EnvironmentProvider
from xvectors.tasks.runner import BaseRunner, Outcome


class XVectorProvider(EnvironmentProvider):
    """Builds the environment for speaker embeddings.

    The environment holds ``model`` (an `Encoder`), ``toolkit``, ``device``, ``utterances`` (a
    list of ``(utt_id, wav_path)``, the path ready to be opened), ``segments`` (for each of them
    the part of that file which it is, None for all), ``speaker_to_utterances`` (a dict from
    speaker to utt_ids), ``output_dir`` and ``origin`` (what the embeddings are made by). In the
    jobs of a run lists and dict are read from the manifest as they are asked for.
    """

    def build_env_local(self) -> Environment:
        """Load the encoder and the manifest, and make the output folder."""
        return _build_xvector_environment(self.config, self.params)

    def build_worker_setup_fn(self) -> Callable[[], Environment]:
        """Return a picklable function that does the same."""
        return partial(_build_xvector_environment, self.config, dict(self.params))


def _build_xvector_environment(config: DictConfig, params: Mapping[str, Any]) -> Environment:
    # Only here, as they import torch.
    from xvectors.encoders.device import choose_device  # noqa: PLC0415
    from xvectors.encoders.encoder import load_encoder  # noqa: PLC0415

    missing = {"manifest_path", "output_dir"} - set(params)
    if missing:
        raise TaskError(f"XVectorProvider: params lacks {', '.join(sorted(missing))}")
    settings = resolve_config(config)
    xvector = settings.xvector
    if xvector.pretrained_model is None:
        raise ConfigError("xvector.pretrained_model: XVectorProvider needs an encoder")
    path = Path(params["manifest_path"])
    # A run has checked its manifests before its jobs begin; they look up the lines that they
    # need, of what may be millions.
    is_job = RUN_VARIABLE in os.environ
    lines = Utterances(path) if is_job else read_manifest(path).utterances
    utterances = LazyColumn(lines, lambda one: (one.utt_id, locate_audio(path, one.wav_path)))
    segments = LazyColumn(lines, lambda one: one.segment)
    wav_paths = LazyColumn(lines, lambda one: one.wav_path)
    speakers = UtterancesOfSpeakers(lines)
    output_dir = Path(params["output_dir"])
    output_dir.mkdir(parents=True, exist_ok=True)
    source = locate_encoder(xvector.pretrained_model)
    device = choose_device(xvector.device)
    return {
        "model": load_encoder(xvector.toolkit, source, device, xvector.precision),
        "toolkit": xvector.toolkit,
        "device": device,
        "utterances": utterances if is_job else list(utterances),
        "segments": segments if is_job else list(segments),
        "speaker_to_utterances": speakers if is_job else dict(speakers),
        "output_dir": output_dir,
        "origin": EmbeddingSource(
            collect_numerics(settings), fingerprint_of(source), wav_paths, segments
        ),
    }


OutputPath = Callable[[Path, str], Path]
Segments = Sequence[Segment | None] | None


class XVectorRunner(BaseRunner):
    """Writes one speaker embedding per utterance, and skips those that are there and current."""

    @staticmethod
    def forward(  # type: ignore[override]
        idx: int | list[int],
        *,
        model: Any,
        utterances: Sequence[tuple[str, str]],
        output_dir: Path,
        segments: Segments = None,
        origin: EmbeddingSource | None = None,
        output_path: OutputPath | None = None,
        storage: Storage | None = None,
        **_: Any,
    ) -> Outcome | list[Outcome]:
        """Embed one utterance or several and write ``<output_dir>/<utt_id>.pt``.

        Args:
            idx: Position or positions in the manifest.
            model: The `Encoder`.
            utterances: Pairs of utt_id and path of the audio file.
            output_dir: Folder of the embeddings.
            segments: For each utterance the part of its file which it is, None for all of it;
                without them every utterance is all of its file.
            origin: What the embeddings are made by. Without it they carry no provenance, and
                none is skipped.
            output_path: As `BaseRunner.output_path`, for subclasses that write elsewhere.
            storage: Where embeddings are kept; without it each has a file.

        Returns:
            An outcome, or a list of them, one per index.

        """
        pipeline = XVectorRunner.pipeline(
            model=model,
            utterances=utterances,
            output_dir=output_dir,
            segments=segments,
            origin=origin,
            output_path=output_path,
            storage=storage,
        )
        outcomes = list(run_sequential(pipeline, [idx] if isinstance(idx, int) else idx))
        return outcomes[0] if isinstance(idx, int) else outcomes

    @staticmethod
    def pipeline(  # type: ignore[override]
        *,
        model: Any,
        utterances: Sequence[tuple[str, str]],
        output_dir: Path,
        segments: Segments = None,
        origin: EmbeddingSource | None = None,
        output_path: OutputPath | None = None,
        storage: Storage | None = None,
    ) -> Pipeline:
        """Return reading, embedding and writing, with the arguments of `forward`."""
        if storage is None:
            place = output_path or XVectorRunner.output_path
            storage = FileStorage(Path(output_dir), place, XVectorRunner.check_output)
        return XVectorPipeline(model, utterances, storage, segments, origin)

    @staticmethod
    def check_output(path: Path) -> None:
        """Raise an exception unless the file holds an embedding: float32, 1-D, finite."""
        if not np.isfinite(load_vector(path)).all():
            raise ValueError("holds NaN or infinite numbers")


class _Utterance(NamedTuple):
    """An utterance that was read: the signal is None when there is nothing to embed."""

    outcome: Outcome
    provenance: bytes
    signal: Signal | None = None


class XVectorPipeline(Pipeline):
    """Reads an utterance's signal, embeds signals in batches, writes an embedding."""

    def __init__(
        self,
        encoder: Any,
        utterances: Sequence[tuple[str, str]],
        storage: Storage,
        segments: Segments,
        origin: EmbeddingSource | None,
    ) -> None:
        """Take what `XVectorRunner.forward` takes."""
        self.encoder = encoder
        self.utterances = utterances
        self.storage = storage
        self.segments = segments
        self.origin = origin

    def load(self, index: int) -> _Utterance:
        """Read an utterance's signal, unless its embedding is current or it cannot be read."""
        try:
            utt_id, audio_path = self.utterances[index]
        except IndexError as error:
            raise ShardError(
                f"there is no utterance {index}, the manifest has {len(self.utterances)}; if that "
                "has changed, run the same command again"
            ) from error
        outcome: Outcome = {"utt_id": utt_id, "status": "ok"}
        try:
            version = check_audio(audio_path)
            provenance = self.origin.provenance(index, version) if self.origin else b""
            if provenance and self.storage.is_current(utt_id, provenance):
                return _Utterance(outcome | {"status": "skipped"}, provenance)
            segment = self.segments[index] if self.segments else None
            return _Utterance(outcome, provenance, self.encoder.read(audio_path, segment))
        except UtteranceError as error:
            return _Utterance(outcome | _failure(str(error)), b"")

    def compute(self, items: list[_Utterance]) -> list[Any]:
        """Return the embeddings, None where there is no signal."""
        signals = [item.signal for item in items if item.signal is not None]
        embeddings = iter(self.encoder.embed(signals) if signals else [])
        return [None if item.signal is None else next(embeddings) for item in items]

    def store(self, item: _Utterance, result: Any) -> Outcome:
        """Write an embedding if there is one, and return the outcome."""
        if result is None:
            return item.outcome
        if result.ndim != 1:
            return item.outcome | _failure(f"the embedding has the shape {tuple(result.shape)}")
        if not bool(result.isfinite().all()):
            return item.outcome | _failure("the embedding is not finite")
        self.storage.save(item.outcome["utt_id"], result, item.provenance)
        return item.outcome

    def n_bytes(self, item: _Utterance) -> int:
        """Return the bytes of an utterance's signal."""
        return 0 if item.signal is None else int(item.signal.samples.nbytes)


def _failure(reason: str) -> Outcome:
    return {"status": "failed", "reason": reason}
