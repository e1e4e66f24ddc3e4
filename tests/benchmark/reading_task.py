"""A task without a network, which decodes all audio: what reading costs in whole runs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig

from tests.scale.null import NullEncoder
from xvectors import XVectorProvider
from xvectors.audio.signal import Segment, Signal

RATE = 16000


class ReadingEncoder(NullEncoder):
    """Reads signals, and gives random numbers."""

    def __init__(self) -> None:
        from xvectors.audio.resampling import Normalizer  # noqa: PLC0415 - imports torch

        self._normalizer = Normalizer(RATE)

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        from xvectors.audio.reading import read_signal  # noqa: PLC0415

        return read_signal(path, self._normalizer, segment)


def build(config: DictConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Build the environment as `XVectorProvider` does, without a network."""
    import xvectors.encoders.encoder  # noqa: PLC0415 - imports torch

    xvectors.encoders.encoder.load_encoder = lambda *_: ReadingEncoder()
    return XVectorProvider(config, params).build_env_local()


class ReadingProvider(XVectorProvider):
    """Builds an environment that only reads, for a process of its own."""

    def build_env_local(self) -> dict[str, Any]:
        return build(self.config, self.params)

    def build_worker_setup_fn(self) -> Callable[[], dict[str, Any]]:
        return partial(build, self.config, self.params)
