"""A provider without an encoder, so that only our own cost is measured.

All but two functions is what a real run does: for every utterance the audio file is asked for its
version, and an embedding with its provenance is written, by the project's own runner. What is
left out is decoding the audio and the network.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from xvectors import XVectorProvider

if TYPE_CHECKING:
    import torch

DIM = 192


class NullEncoder:
    """Gives random numbers, others in each batch."""

    min_samples = 0
    sample_rate = 16000

    def normalize(self, signal: "torch.Tensor", sample_rate: int) -> "torch.Tensor":
        return signal

    def embed(self, signals: "list[torch.Tensor]") -> "torch.Tensor":
        import torch  # noqa: PLC0415 - Snakemake's own process imports this module too

        return torch.randn(len(signals), DIM)


def build(config: DictConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Build the environment as `XVectorProvider` does, without encoder and decoder."""
    import torch  # noqa: PLC0415

    import xvectors.encoders.encoder  # noqa: PLC0415 - imports torch
    import xvectors.runner  # noqa: PLC0415

    signal = torch.zeros(1)
    xvectors.encoders.encoder.load_encoder = lambda *_: NullEncoder()
    xvectors.runner.read_signal = lambda *_: signal
    return XVectorProvider(config, params).build_env_local()


class NullProvider(XVectorProvider):
    """Builds an environment with an encoder that does nothing, for a process of its own."""

    def build_env_local(self) -> dict[str, Any]:
        return build(self.config, self.params)

    def build_worker_setup_fn(self) -> Callable[[], dict[str, Any]]:
        return partial(build, self.config, self.params)
