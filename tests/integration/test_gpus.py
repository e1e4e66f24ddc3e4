"""Jobs on a machine with several GPUs. The GPUs are made up: what counts is who gets which."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from tests.support.checkout import PROVIDER

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
# As SpeechBrain does when it is imported: this starts CUDA, which shows this GPU for good.
torch.cuda.is_available()
STARTED_ON = os.environ["CUDA_VISIBLE_DEVICES"]


class Runner(BaseRunner):
    @staticmethod
    def forward(idx, manifest, output_dir):
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        assert STARTED_ON == gpu
        begun = time.time()
        (NOTES / f"gpu{gpu.replace('/', '-')}").touch()
        while len(list(NOTES.glob("gpu*"))) < 2 and time.time() < begun + 120:
            time.sleep(0.02)
        utt_id = manifest.utterances[idx].utt_id
        torch.save(torch.ones(3), output_dir / f"{utt_id}.pt")
        note = {"gpu": gpu, "job": os.getpid(), "begun": begun, "ended": time.time()}
        (NOTES / f"{utt_id}.json").write_text(json.dumps(note))
"""
)


def test_every_gpu_is_used_and_none_by_two_jobs_at_a_time(checkout, monkeypatch):
    gpus = {"MIG-5c1d", "MIG-GPU-8a/1/2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(gpus))
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
    assert {note["gpu"] for note in notes} == gpus
    for gpu in gpus:
        spans = {}
        for note in notes:
            if note["gpu"] == gpu:
                begun, ended = spans.get(note["job"], (note["begun"], note["ended"]))
                spans[note["job"]] = min(begun, note["begun"]), max(ended, note["ended"])
        in_turn = sorted(spans.values())
        for (_, ended), (begun, _) in itertools.pairwise(in_turn):
            assert ended <= begun


# The demo's encoder stays on the CPU, and all else goes as on a GPU.
GPU_PROVIDER = """
from functools import partial

from xvectors import XVectorProvider


def build(setup):
    env = setup()
    env["model"].normalizer.together = True
    return env | {"device": "cuda"}


class Provider(XVectorProvider):
    def build_worker_setup_fn(self):
        return partial(build, super().build_worker_setup_fn())
"""


# Notes for each recording which process has read it. Some count as long.
NOTING = """

from multiprocessing import parent_process
from pathlib import Path

import xvectors.job.encoder_server
from xvectors.encoders.encoder import Encoder

read = Encoder.read
xvectors.job.encoder_server.LONG_SECONDS = 2.8


def note_and_read(self, path, segment=None):
    reader = "the job" if parent_process() is None else "a process of the job"
    Path("notes", Path(path).stem).write_text(reader)
    return read(self, path, segment)


Encoder.read = note_and_read
"""


@pytest.mark.parametrize("storage", ["files", "packed"])
def test_processes_read_and_write_what_a_gpu_embeds(checkout, reference, monkeypatch, storage):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(checkout.root))
    (checkout.root / "notes").mkdir()
    (checkout.root / "gpu_provider.py").write_text(GPU_PROVIDER + NOTING)
    checkout.xvector.update(provider="gpu_provider.Provider", storage=storage, batch_size=2)
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    result = checkout.run("--cores", "4")
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert "clara_02: not audio" in result.stdout
    assert "1 of 2 shards not done" in result.stdout

    checkout.audio("clara_02").write_bytes(good)
    # Another recording takes the place of one whose embedding is there.
    checkout.audio("alba_00").write_bytes(checkout.audio("dmitri_03").read_bytes())
    checkout.run_well("--cores", "4")
    rows = checkout.rows("train.tsv")[1:]
    assert len(rows) == 8
    for utt_id, _, path, _ in rows:
        file = checkout.out / path
        vector = load_file(file)[utt_id] if storage == "packed" else torch.load(file)
        reference.assert_same(vector, checkout.audio(utt_id))
    assert not list(checkout.embeddings.glob(".*.journal"))
    readers = {path.name: path.read_text() for path in checkout.root.glob("notes/*")}
    assert readers == {row[0]: "a process of the job" for row in rows}
    assert {float(row[3]) > 2.8 for row in rows} == {False, True}


def test_a_reading_process_that_is_killed_is_told_and_made_good(checkout, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(checkout.root))
    killing = GPU_PROVIDER.replace("import partial\n", "import partial\nimport os\n") + KILLING
    (checkout.root / "gpu_provider.py").write_text(killing)
    checkout.xvector.update(provider="gpu_provider.Provider", batch_size=2, n_shards=1)
    result = checkout.run("--cores", "4")
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert "error: a process that reads audio ended with status -9" in result.stdout
    checkout.run_well("--cores", "4")
    assert len(checkout.rows("train.tsv")) == 1 + 8


# Once, whoever reads this recording first.
KILLING = """

from pathlib import Path

from xvectors.encoders.encoder import Encoder

read = Encoder.read


def kill_or_read(self, path, segment=None):
    if "hugo_04" in path:
        try:
            Path("killed").touch(exist_ok=False)
        except FileExistsError:
            return read(self, path, segment)
        os.kill(os.getpid(), 9)
    return read(self, path, segment)


Encoder.read = kill_or_read
"""
