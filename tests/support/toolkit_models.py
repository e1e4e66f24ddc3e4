"""Small encoders with random weights, in the formats of ESPnet-SPK and RawNet3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml

from tests.support.checkout import DEMO

# As in the numerics egs2/voxceleb/spk1, only smaller.
MEL = {
    "frontend": "melspec_torch",
    "frontend_conf": {"n_mels": 40, "log": True, "normalize": "mn"},
}
ESPNET_MODELS: dict[str, dict[str, Any]] = {
    "rawnet3": {
        "frontend": "asteroid_frontend",
        "frontend_conf": {"sinc_filters": 32, "sinc_stride": 16},
        "encoder": "rawnet3",
        "encoder_conf": {"model_scale": 8, "ndim": 64, "output_size": 96},
        "pooling": "chn_attn_stat",
        "projector": "rawnet3",
        "projector_conf": {"output_size": 24},
    },
    "ecapa": {
        **MEL,
        "encoder": "ecapa_tdnn",
        "encoder_conf": {"model_scale": 8, "ndim": 64, "output_size": 96},
        "pooling": "chn_attn_stat",
        "projector": "rawnet3",
        "projector_conf": {"output_size": 24},
    },
    "xvector": {
        **MEL,
        "normalize": "utterance_mvn",
        "encoder": "xvector",
        "encoder_conf": {"ndim": 32, "output_size": 96},
        "pooling": "stats",
        "projector": "xvector",
        "projector_conf": {"output_size": 24},
    },
}
CHECKPOINT = "9epoch.pth"


def speech(lengths: Sequence[int]) -> list[torch.Tensor]:
    """Return signals of so many samples, of the demo's speakers in turn."""
    found = []
    for i, n_samples in enumerate(lengths):
        folder = sorted((DEMO / "wav").iterdir())[i % 8]
        (path,) = folder.glob("*_00.*")
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
        repeats = -(-n_samples // len(samples))
        found.append(torch.from_numpy(samples[:, 0]).repeat(repeats)[:n_samples])
    return found


def make_espnet_encoder(folder: Path, name: str = "ecapa") -> Path:
    """Write ``config.yaml`` and ``9epoch.pth`` as ESPnet's training does; return the folder."""
    from espnet2.bin.spk_inference import Speech2Embedding  # noqa: PLC0415
    from espnet2.tasks.spk import SpeakerTask  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    config = SpeakerTask.get_default_config() | ESPNET_MODELS[name] | {"spk_num": 7}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = Speech2Embedding(folder / "config.yaml", None).spk_model
    save_random(model, folder / CHECKPOINT, wrap=False)
    return folder


def make_rawnet_checkpoint(path: Path) -> Path:
    """Write a checkpoint with the names of the published one; return its path."""
    from xvectors.encoders.rawnet.network import RawNet3  # noqa: PLC0415

    torch.manual_seed(0)
    network = RawNet3(channels=64, frame_channels=96, dim=24)
    # The published network has two layers that it makes no use of.
    network.bn1, network.bn6 = torch.nn.BatchNorm1d(16), torch.nn.BatchNorm1d(24)
    save_random(network, path, wrap=True)
    return path


def save_random(network: torch.nn.Module, path: Path, wrap: bool) -> None:
    """Save random weights, and statistics as after training, under `model` or plainly."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
    for name, value in network.named_parameters():
        if value.dim() > 1 and "filterbank" not in name:
            value.data.normal_(0, value[0].numel() ** -0.5, generator=generator)
    torch.save({"model": network.state_dict()} if wrap else network.state_dict(), path)


class Trap:
    """What makes a file when it is unpickled in full."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def note_tf32(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[bool]:
    """Return a list to which every call of a method adds whether GPUs may round to TF32."""
    noted: list[bool] = []
    method = getattr(module, name)

    def noting(*args, **kwargs):
        noted.append(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
        return method(*args, **kwargs)

    monkeypatch.setattr(module, name, noting)
    return noted
