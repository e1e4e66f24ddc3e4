"""Runners: they process utterances, by index, in an environment."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from tqdm import tqdm

from xvectors.audio.signal import Decoded
from xvectors.errors import TaskError
from xvectors.storage.pt_file import load_any
from xvectors.tasks.pipeline import Pipeline
from xvectors.tasks.provider import Environment, EnvironmentProvider


class Outcome(TypedDict, total=False):
    """The outcome of an utterance: `status` is ok, skipped, or failed with a `reason`.

    `decoded` tells of its audio, where the runner is known to have read it.
    """

    utt_id: str
    status: str
    reason: str
    decoded: Decoded


class BaseRunner(ABC):
    """Calls ``forward`` for indices, with the arguments that it names from the environment."""

    def __init__(self, provider: EnvironmentProvider, batch_size: int | None = None) -> None:
        """Pass indices one at a time or, with a `batch_size`, in lists of at most so many.

        Raises:
            TaskError: The batch size is below 1, or ``forward`` is not a static method.

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
            env: Entries of the environment. Name those that you need as parameters.

        Returns:
            A result, or a list with one result per index, in order. Under the shard rules a
            result may be an `Outcome`; with any other result the output file is checked.

        Raises:
            UtteranceError: This utterance cannot be processed, but all others can.

        """

    @staticmethod
    def output_path(output_dir: Path, utt_id: str) -> Path:
        """Return the file that ``forward`` leaves for an utterance.

        The shard rules use it to skip, check and list outputs.
        """
        return output_dir / f"{utt_id}.pt"

    @staticmethod
    def check_output(path: Path) -> None:
        """Raise an exception unless the file that ``forward`` has left is sound.

        By default it must hold one tensor of any kind.
        """
        if not hasattr(load_any(path), "shape"):
            raise ValueError("holds no tensor")

    @staticmethod
    def pipeline(**env: Any) -> Pipeline:
        """Return the work of ``forward`` as a pipeline, whose stages a shard job overlaps.

        It is optional and only for speed. A class that has it needs a ``forward`` that does the
        same. A subclass that overrides ``forward`` alone runs without a pipeline.

        Args:
            env: Entries of the environment. Name those that you need as parameters.

        """
        raise NotImplementedError

    def __call__(self, indices: Sequence[int]) -> list[Any]:
        """Build the environment once and return the results, one per index, in their order."""
        env = check_environment(self.provider.build_env_local(), "build_env_local")
        indices = [int(index) for index in indices]
        results: list[Any] = []
        with tqdm(total=len(indices), unit="utt") as bar:
            step = self.batch_size or 1
            for start in range(0, len(indices), step):
                batch = indices[start : start + step]
                results += self.process(batch, env)
                bar.update(len(batch))
        return results

    def process(self, batch: Sequence[int], env: Environment) -> list[Any]:
        """Return ``forward``'s results for a batch, one per index.

        Raises:
            TaskError: ``forward`` names a parameter that the environment lacks, or returns
                another number of results than it got indices.

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

    def build_pipeline(self, env: Environment) -> Pipeline:
        """Return the runner's pipeline or, if it has none, one whose `compute` is ``forward``."""
        owner = next(kind for kind in type(self).__mro__ if "forward" in vars(kind))
        if "pipeline" not in vars(owner):
            return _ForwardPipeline(self, env)
        pipeline = self.pipeline(**self._arguments(self.pipeline, env))
        if not isinstance(pipeline, Pipeline):
            raise TaskError(
                f"{type(self).__name__}.pipeline returned a {type(pipeline).__name__}: return an "
                "object of a class that is derived from Pipeline"
            )
        return pipeline

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


class _ForwardPipeline(Pipeline):
    """A pipeline that does nothing but a runner's ``forward``."""

    def __init__(self, runner: BaseRunner, env: Environment) -> None:
        self.runner = runner
        self.env = env

    def load(self, index: int) -> int:
        return index

    def compute(self, items: list[int]) -> list[Any]:
        return self.runner.process(items, self.env)

    def store(self, item: int, result: Any) -> Any:
        return result


def check_environment(env: Any, method: str) -> Environment:
    """Return `env` if it is a dict.

    Raises:
        TaskError: It is not. The message names the provider's `method` that made it.

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
