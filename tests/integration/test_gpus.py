"""Jobs on a machine with several GPUs. The GPUs are made up: what counts is who gets which."""

import itertools
import json

import pytest

from ..checkout import PROVIDER

pytestmark = pytest.mark.integration

# Notes which GPU the process sees, and ends its first utterance only when both are in use.
GPU_TASK = (
    PROVIDER
    + """
import json
import os
import time

import torch

NOTES = Path("notes")


class Runner(BaseRunner):
    @staticmethod
    def forward(idx, manifest, output_dir):
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        begun = time.time()
        (NOTES / f"gpu{gpu}").touch()
        while len(list(NOTES.glob("gpu*"))) < 2 and time.time() < begun + 120:
            time.sleep(0.02)
        utt_id = manifest.utterances[idx].utt_id
        torch.save(torch.ones(3), output_dir / f"{utt_id}.pt")
        note = {"gpu": gpu, "job": os.getpid(), "begun": begun, "ended": time.time()}
        (NOTES / f"{utt_id}.json").write_text(json.dumps(note))
"""
)


def test_every_gpu_is_used_and_none_by_two_jobs_at_a_time(checkout, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(checkout.root))
    (checkout.root / "notes").mkdir()
    (checkout.root / "gpu_task.py").write_text(GPU_TASK)
    checkout.xvector.update(
        pretrained_model=None,
        provider="gpu_task.Provider",
        runner="gpu_task.Runner",
        batch_size=None,
        n_shards=4,
    )
    checkout.run_well("--cores", "4")
    notes = [json.loads(path.read_text()) for path in checkout.root.glob("notes/*.json")]
    assert len(notes) == 8
    assert {note["gpu"] for note in notes} == {"0", "1"}
    for gpu in ("0", "1"):
        spans = {}
        for note in notes:
            if note["gpu"] == gpu:
                begun, ended = spans.get(note["job"], (note["begun"], note["ended"]))
                spans[note["job"]] = min(begun, note["begun"]), max(ended, note["ended"])
        in_turn = sorted(spans.values())
        for (_, ended), (begun, _) in itertools.pairwise(in_turn):
            assert ended <= begun
