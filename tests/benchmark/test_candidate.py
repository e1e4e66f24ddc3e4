"""Each stage of the pipeline alone, as the benchmark runs it."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("stage", ["read", "embed", "write"])
def test_a_stage_alone(stage, corpus, demo_encoder, tmp_path, monkeypatch):
    # It runs as a script, and imports what lies beside it.
    monkeypatch.syspath_prepend(HERE)
    from tests.benchmark import candidate  # noqa: PLC0415

    arguments = Namespace(
        manifest=corpus / "train.tsv",
        encoder=demo_encoder,
        device="cpu",
        precision="fp32",
        batch_size=4,
        stage=stage,
    )
    account = candidate.prepare_stage(arguments)(tmp_path / "out")
    assert account.n_utterances == 6
    written = list((tmp_path / "out").glob("*.pt"))
    assert len(written) == (6 if stage == "write" else 0)
    assert all(torch.load(path).shape == (192,) for path in written)
