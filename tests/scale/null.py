"""A provider without an encoder, so that only our own cost is measured.

All but the encoder is what a real run does: for every utterance the audio file is asked for its
version, and an embedding with its provenance is written, by the project's own runner. What is
left out is decoding the audio and the network.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from xvectors import XVectorProvider
from xvectors.audio.signal import Segment, Signal

if TYPE_CHECKING:
    import torch

DIM = 192


class NullEncoder:
    """Gives random numbers, others in each batch."""

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        import torch  # noqa: PLC0415 - Snakemake's own process imports this module too

        return Signal(torch.zeros(1), 16000)

    def embed(self, signals: list[Signal]) -> "torch.Tensor":
        import torch  # noqa: PLC0415

        return torch.randn(len(signals), DIM)


def build(config: DictConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Build the environment as `XVectorProvider` does, without encoder and decoder."""
    import xvectors.encoders.encoder  # noqa: PLC0415 - imports torch

    xvectors.encoders.encoder.load_encoder = lambda *_: NullEncoder()
    return XVectorProvider(config, params).build_env_local()


class NullProvider(XVectorProvider):
    """Builds an environment with an encoder that does nothing, for a process of its own."""

    def build_env_local(self) -> dict[str, Any]:
        return build(self.config, self.params)

    def build_worker_setup_fn(self) -> Callable[[], dict[str, Any]]:
        return partial(build, self.config, self.params)
