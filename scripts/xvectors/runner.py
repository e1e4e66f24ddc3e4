"""Runners: what processes utterances, by their index, in an environment."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from xvectors.audio.segment import Segment
from xvectors.audio.signals import Signal, check_audio
from xvectors.config import import_class
from xvectors.errors import ShardError, TaskError, UtteranceError
from xvectors.layout import Layout
from xvectors.provenance import Origin
from xvectors.provider import Environment, EnvironmentProvider
from xvectors.stages import Stages, run_in_turn
from xvectors.storage.embedding_file import load_tensor, load_vector
from xvectors.storage.storage import FileStorage, PackedStorage, Storage

Item = TypeVar("Item")
OutputPath = Callable[[Path, str], Path]
Segments = Sequence[Segment | None] | None


class Outcome(TypedDict, total=False):
    """What became of an utterance: `status` is ok, skipped or failed, then with a `reason`."""

    utt_id: str
    status: str
    reason: str


class BaseRunner(ABC):
    """Feeds indices to ``forward``, with what it asks for from the provider's environment."""

    def __init__(self, provider: EnvironmentProvider, batch_size: int | None = None) -> None:
        """Take indices one at a time, or, with a `batch_size`, in lists of at most so many.

        Raises:
            TaskError: The batch size is below 1, or ``forward`` is no static method.

        """
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise TaskError(
                f"batch_size is {batch_size!r}: give an integer from 1 on, or None for no batches"
            )
        if not isinstance(inspect.getattr_static(type(self), "forward"), staticmethod):
            raise TaskError(f"{type(self).__name__}.forward: make it a @staticmethod, without self")
        self.provider = provider
        self.batch_size = batch_size

    @staticmethod
    @abstractmethod
    def forward(idx: Any, **env: Any) -> Any:
        """Process one utterance, or several.

        Args:
            idx: A position in the manifest, or a list of them when the runner has a batch size.
            env: Name as parameters the entries of the environment that you need.

        Returns:
            A result, or a list with one result per index, in order. Under the shard rules a
            result may be an `Outcome`; without one the output file speaks for itself.

        Raises:
            UtteranceError: This utterance cannot be processed; all others can.

        """

    @staticmethod
    def output_path(output_dir: Path, utt_id: str) -> Path:
        """Return the file that ``forward`` leaves for an utterance.

        By it the shard rules tell what is done, check it and list it.
        """
        return output_dir / f"{utt_id}.pt"

    @staticmethod
    def check_output(path: Path) -> Any:
        """Raise an exception unless the file that ``forward`` has left is sound.

        By default it must hold one tensor, whatever is in it, which is returned.
        """
        import torch  # noqa: PLC0415 - asked for once per split only

        tensor = load_tensor(path)
        if not isinstance(tensor, torch.Tensor):
            raise ValueError("holds no tensor")
        return tensor

    @staticmethod
    def stages(**env: Any) -> Stages:
        """Return what ``forward`` does as stages, which a shard job overlaps.

        This is for speed and may be left out. A class that has it has ``forward`` too, which
        does the same; a subclass with a ``forward`` of its own and no stages goes without.

        Args:
            env: Name as parameters the entries of the environment that you need.

        """
        raise NotImplementedError

    def __call__(self, indices: Sequence[int]) -> list[Any]:
        """Build the environment once and return the results, one per index, in their order."""
        env = check_environment(self.provider.build_env_local(), "build_env_local")
        indices = [int(index) for index in indices]
        results: list[Any] = []
        with tqdm(total=len(indices), unit="utt") as bar:
            for batch in batches(indices, self.batch_size):
                results += self.process(batch, env)
                bar.update(len(batch))
        return results

    def process(self, batch: Sequence[int], env: Environment) -> list[Any]:
        """Return ``forward``'s results for a batch, one per index.

        Raises:
            TaskError: ``forward`` asks for what the environment lacks, or returns another
                number of results than it got indices.

        """
        arguments = self._arguments(self.forward, env, n_own=1)
        if self.batch_size is None:
            return [self.forward(index, **arguments) for index in batch]
        results = self.forward(list(batch), **arguments)
        is_sequence = isinstance(results, list | tuple)
        if not is_sequence or len(results) != len(batch):
            got = f"{len(results)} results" if is_sequence else f"a {type(results).__name__}"
            raise TaskError(
                f"{type(self).__name__}.forward returned {got} for {len(batch)} indices: "
                "return a list with one result per index, in their order"
            )
        return list(results)

    def in_stages(self, env: Environment) -> Stages:
        """Return the runner's stages, or, where it has none, ``forward`` as the middle one."""
        owner = next(kind for kind in type(self).__mro__ if "forward" in vars(kind))
        if "stages" not in vars(owner):
            return _ForwardAlone(self, env)
        stages = self.stages(**self._arguments(self.stages, env))
        if not isinstance(stages, Stages):
            raise TaskError(
                f"{type(self).__name__}.stages returned a {type(stages).__name__}: return an "
                "object of a class that is derived from Stages"
            )
        return stages

    def _arguments(
        self, function: Callable[..., Any], env: Environment, n_own: int = 0
    ) -> Environment:
        """Return the entries of `env` that a function names after its `n_own` first parameters.

        A function that names `output_path` gets this class's, unless the environment has one.
        """
        parameters = list(inspect.signature(function).parameters.values())[n_own:]
        if any(parameter.name == "output_path" for parameter in parameters):
            env = {"output_path": self.output_path, **env}
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            wanted = set(env)
        else:
            wanted = {parameter.name for parameter in parameters}
        required = {parameter.name for parameter in parameters if _is_required(parameter)}
        missing = sorted(required - set(env))
        if missing:
            raise TaskError(
                f"{type(self).__name__}.{function.__name__} asks for {', '.join(missing)}, which "
                f"the environment of {type(self.provider).__name__} lacks (it has "
                f"{', '.join(sorted(env))}): add it there, or rename the parameter"
            )
        return {name: env[name] for name in wanted & set(env)}


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
        origin: Origin | None = None,
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
        stages = XVectorRunner.stages(
            model=model,
            utterances=utterances,
            output_dir=output_dir,
            segments=segments,
            origin=origin,
            output_path=output_path,
            storage=storage,
        )
        outcomes = list(run_in_turn(stages, [idx] if isinstance(idx, int) else idx))
        return outcomes[0] if isinstance(idx, int) else outcomes

    @staticmethod
    def stages(  # type: ignore[override]
        *,
        model: Any,
        utterances: Sequence[tuple[str, str]],
        output_dir: Path,
        segments: Segments = None,
        origin: Origin | None = None,
        output_path: OutputPath | None = None,
        storage: Storage | None = None,
    ) -> Stages:
        """Return reading, embedding and writing, with the arguments of `forward`."""
        if storage is None:
            place = output_path or XVectorRunner.output_path
            storage = FileStorage(Path(output_dir), place, XVectorRunner.check_output)
        return XVectorStages(model, utterances, storage, segments, origin)

    @staticmethod
    def check_output(path: Path) -> None:
        """Raise an exception unless the file holds an embedding: float32, 1-D, finite."""
        if not np.isfinite(load_vector(path)).all():
            raise ValueError("holds NaN or infinite numbers")


class _ForwardAlone(Stages):
    """A runner's ``forward`` as the only thing that is done."""

    def __init__(self, runner: BaseRunner, env: Environment) -> None:
        self.runner = runner
        self.env = env

    def load(self, index: int) -> int:
        return index

    def compute(self, items: list[int]) -> list[Any]:
        return self.runner.process(items, self.env)

    def store(self, item: int, result: Any) -> Any:
        return result


class _Utterance(NamedTuple):
    """An utterance that was read: the signal is None when there is nothing to embed."""

    outcome: Outcome
    made_by: bytes
    signal: Signal | None = None


class XVectorStages(Stages):
    """Reads an utterance's signal, embeds signals in batches, writes an embedding."""

    def __init__(
        self,
        encoder: Any,
        utterances: Sequence[tuple[str, str]],
        storage: Storage,
        segments: Segments,
        origin: Origin | None,
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
            made_by = self.origin.provenance(index, version) if self.origin else b""
            if made_by and self.storage.is_current(utt_id, made_by):
                return _Utterance(outcome | {"status": "skipped"}, made_by)
            segment = self.segments[index] if self.segments else None
            return _Utterance(outcome, made_by, self.encoder.read(audio_path, segment))
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
        self.storage.save(item.outcome["utt_id"], result, item.made_by)
        return item.outcome

    def n_bytes(self, item: _Utterance) -> int:
        """Return the bytes of an utterance's signal."""
        return 0 if item.signal is None else int(item.signal.samples.nbytes)


def _failure(reason: str) -> Outcome:
    return {"status": "failed", "reason": reason}


def runner_class(config: DictConfig) -> type[BaseRunner]:
    """Return the runner that a resolved configuration names."""
    found: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    return found


def storage_of(config: DictConfig, split: str, shard: str, utt_ids: Iterable[str] = ()) -> Storage:
    """Return where the embeddings of a shard are kept.

    Args:
        config: A resolved configuration.
        split: Name of the split.
        shard: Name of the shard.
        utt_ids: Its utterances, for whoever asks which are current, or adds some.

    """
    folder = Layout.of(config).embeddings(split)
    if config.xvector.storage == "packed":
        return PackedStorage(folder, shard, utt_ids)
    runner = runner_class(config)
    return FileStorage(folder, runner.output_path, runner.check_output)


def can_pack(runner: type[BaseRunner]) -> bool:
    """Tell whether a runner keeps its embeddings wherever it is told to."""
    own = ("forward", "stages", "output_path", "check_output")
    return all(getattr(runner, name) is getattr(XVectorRunner, name) for name in own)


def makes_embeddings(runner: type[BaseRunner]) -> bool:
    """Tell whether what a runner leaves is checked to be speaker embeddings."""
    return runner.check_output is XVectorRunner.check_output


def batches(items: Sequence[Item], batch_size: int | None) -> Iterator[Sequence[Item]]:
    """Yield `items` in order, at most `batch_size` at a time; None means one at a time."""
    step = batch_size or 1
    for start in range(0, len(items), step):
        yield items[start : start + step]


def check_environment(env: Any, method: str) -> Environment:
    """Return `env` if it is a dict.

    Raises:
        TaskError: It is not; the message names the provider's `method` that made it.

    """
    if not isinstance(env, dict):
        raise TaskError(
            f"{method} made an environment of type {type(env).__name__}: make a dict, "
            "from the names of forward's parameters to their values"
        )
    return env


def build_worker_environment(provider: EnvironmentProvider) -> Environment:
    """Build the environment as a worker does, with the function that the provider returns.

    Raises:
        TaskError: The provider returns no function, or the function makes no dict.

    """
    setup = provider.build_worker_setup_fn()
    if not callable(setup):
        raise TaskError(
            f"{type(provider).__name__}.build_worker_setup_fn returned a "
            f"{type(setup).__name__}: return a function that builds the environment"
        )
    return check_environment(setup(), "build_worker_setup_fn")


def _is_required(parameter: inspect.Parameter) -> bool:
    is_variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    return parameter.default is parameter.empty and not is_variadic
