"""Encoders with seeded random weights, of any shape, for what needs no trained one."""

import sys
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml

DEMO = Path(__file__).resolve().parents[2] / "config" / "demo"
sys.path.insert(0, str(DEMO))

from train_encoder import save_encoder  # noqa: E402 - it lies beside the demo

HYPERPARAMS = (DEMO / "encoder" / "hyperparams.yaml").read_text(encoding="utf-8")


def write_random_encoder(folder: Path, hyperparams: str = HYPERPARAMS) -> None:
    """Write an encoder's folder, by default one of the shape of the demo's encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(hyperparams, encoding="utf-8")
    torch.manual_seed(1234)
    modules = load_hyperpyyaml(hyperparams)
    for name, buffer in modules["embedding_model"].named_buffers():
        # Statistics as a trained BatchNorm has them, so that it does more than pass on.
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    modules["mean_var_norm_emb"](torch.randn(32, 1, 192), torch.ones(32))
    save_encoder(modules, folder)
