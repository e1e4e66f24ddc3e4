"""Runners: what processes utterances, by their index, in an environment."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

from omegaconf import DictConfig
from tqdm import tqdm

from xvectors.audio import check_audio, read_signal
from xvectors.config import import_class
from xvectors.errors import TaskError, UtteranceError
from xvectors.provenance import Origin, read_provenance, save_embedding
from xvectors.provider import Environment, EnvironmentProvider

# Decoded audio that may wait for a batch to fill up: ten minutes at 16 kHz, 40 MB.
MAX_WAITING_SAMPLES = 600 * 16000


Item = TypeVar("Item")


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

        By default it must hold one tensor of finite numbers, which is returned.
        """
        import torch  # noqa: PLC0415 - asked for once per split only

        tensor = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(tensor, torch.Tensor):
            raise ValueError("holds no tensor")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError("holds NaN or infinite numbers")
        return tensor

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
        arguments = self._arguments(env)
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

    def _arguments(self, env: Environment) -> Environment:
        """Return the entries of `env` that ``forward`` names after its first parameter."""
        _, *parameters = inspect.signature(self.forward).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            wanted = set(env)
        else:
            wanted = {parameter.name for parameter in parameters}
        required = {parameter.name for parameter in parameters if _is_required(parameter)}
        missing = sorted(required - set(env))
        if missing:
            raise TaskError(
                f"{type(self).__name__}.forward asks for {', '.join(missing)}, which the "
                f"environment of {type(self.provider).__name__} lacks (it has "
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
        origin: Origin | None = None,
        **_: Any,
    ) -> Outcome | list[Outcome]:
        """Embed one utterance or several and write ``<output_dir>/<utt_id>.pt``.

        Args:
            idx: Position or positions in the manifest.
            model: The `Encoder`.
            utterances: Pairs of utt_id and path of the audio file.
            output_dir: Folder of the embeddings.
            origin: What the embeddings are made by. Without it they carry no provenance, and
                none is skipped.

        Returns:
            An outcome, or a list of them, one per index.

        """
        outcomes: list[Outcome] = []
        waiting: list[_Decoded] = []
        for index in [idx] if isinstance(idx, int) else idx:
            utt_id, audio_path = utterances[index]
            outcome: Outcome = {"utt_id": utt_id, "status": "ok"}
            outcomes.append(outcome)
            output = XVectorRunner.output_path(Path(output_dir), utt_id)
            try:
                version = check_audio(audio_path)
                made_by = origin.provenance(index, version) if origin else b""
                if made_by and read_provenance(output) == made_by:
                    outcome["status"] = "skipped"
                else:
                    signal = _read_long_enough(audio_path, model)
                    waiting.append(_Decoded(outcome, output, made_by, signal))
            except UtteranceError as error:
                outcome.update({"status": "failed", "reason": str(error)})
            if sum(len(decoded.signal) for decoded in waiting) > MAX_WAITING_SAMPLES:
                _embed_and_write(waiting, model)
                waiting = []
        _embed_and_write(waiting, model)
        return outcomes[0] if isinstance(idx, int) else outcomes

    @staticmethod
    def check_output(path: Path) -> None:
        """Raise ValueError unless the file holds an embedding: float32, 1-D, finite."""
        embedding = BaseRunner.check_output(path)
        if embedding.dim() != 1 or str(embedding.dtype) != "torch.float32":
            raise ValueError(f"holds no embedding but {embedding.dtype}, {tuple(embedding.shape)}")


class _Decoded(NamedTuple):
    """An utterance that is ready to be embedded."""

    outcome: Outcome
    output: Path
    made_by: bytes
    signal: Any


def _read_long_enough(path: str, model: Any) -> Any:
    """Return a file's signal as `model` wants it, if that is long enough."""
    signal = read_signal(path, model.sample_rate, model.normalize)
    if len(signal) < model.min_samples:
        seconds, least = len(signal) / model.sample_rate, model.min_samples / model.sample_rate
        raise UtteranceError(
            f"too short: {path} has {seconds:.4f} s, this encoder needs {least:.4f} s"
        )
    return signal


def _embed_and_write(batch: list[_Decoded], model: Any) -> None:
    if not batch:
        return
    embeddings = model.embed([decoded.signal for decoded in batch])
    for decoded, embedding in zip(batch, embeddings, strict=True):
        if bool(embedding.isfinite().all()):
            save_embedding(embedding, decoded.output, decoded.made_by)
        else:
            decoded.outcome.update({"status": "failed", "reason": "the embedding is not finite"})


def runner_class(config: DictConfig) -> type[BaseRunner]:
    """Return the runner that a resolved configuration names."""
    found: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    return found


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
