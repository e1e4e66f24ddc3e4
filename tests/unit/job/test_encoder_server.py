"""Processes that share an encoder. On a GPU machine it is the GPU's; here it is the CPU's."""

import gc
import os
import signal
import subprocess
import sys
import time
from copy import copy
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.checkout import DEMO
from xvectors import XVectorProvider
from xvectors.audio.signal import Signal
from xvectors.encoders.encoder import Encoder, load_encoder
from xvectors.errors import ShardError, TaskError, UtteranceError
from xvectors.job import encoder_server
from xvectors.job.encoder_server import (
    BATCH_BYTES,
    FIRST_SECONDS,
    GROUP_SECONDS,
    MAX_LONG_SECONDS,
    Batch,
    Request,
    SharedSignals,
    cut_batches,
    die_with,
    run_in_processes,
)
from xvectors.tasks.pipeline import Pipeline, run_threaded
from xvectors.tasks.xvectors import storing_pipeline


@pytest.fixture(scope="module")
def encoder(demo_encoder):
    encoder = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    # As on a GPU.
    encoder.normalizer.together = True
    return encoder


def together(indices, n):
    """Utterances of such a length that a process reads `n` of them together."""
    return [(FIRST_SECONDS / n, index) for index in indices]


def children_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in children.read_text().split()]


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def xvector_stages(encoder, output_dir, monkeypatch) -> tuple[Pipeline, list[str]]:
    monkeypatch.setattr("xvectors.encoders.encoder.load_encoder", lambda *_: encoder)
    config = {"xvector": {"pretrained_model": str(DEMO / "encoder"), "device": "cpu"}}
    params = {"manifest_path": str(DEMO / "manifest" / "train.tsv"), "output_dir": str(output_dir)}
    env = XVectorProvider(config, params).build_env_local()
    names = ("model", "utterances", "output_dir", "segments", "source")
    pipeline = storing_pipeline(**{name: env[name] for name in names})
    return pipeline, [utt_id for utt_id, _ in env["utterances"]]


def test_processes_and_threads_give_the_same_vectors(encoder, tmp_path, monkeypatch):
    pipeline, utt_ids = xvector_stages(encoder, tmp_path / "one", monkeypatch)
    expected = dict(run_threaded(pipeline, range(len(utt_ids)), 7, 2))
    pipeline, _ = xvector_stages(encoder, tmp_path / "two", monkeypatch)
    found = dict(run_in_processes(pipeline, together(range(len(utt_ids)), 7), 3))
    assert found == expected
    assert all(1 < outcome["decoded"].seconds < 5 for outcome in found.values())
    assert {outcome["status"] for outcome in found.values()} == {"ok"}
    for utt_id in utt_ids:
        one, two = (torch.load(tmp_path / name / f"{utt_id}.pt") for name in ("one", "two"))
        assert (one - two).abs().max() <= 1e-5 * one.abs().max()
    again = run_in_processes(pipeline, together(range(len(utt_ids)), 7), 3)
    assert {outcome["status"] for _, outcome in again} == {"skipped"}


class Echo(Pipeline):
    """Embeds signals whose first sample is the index, by an encoder that gives that back."""

    def __init__(self, encoder, lengths=(100,)):
        self.encoder = encoder
        self.lengths = lengths

    def load(self, index):
        if index == 5:
            raise UtteranceError("cannot be read")
        return torch.full((self.lengths[index % len(self.lengths)],), float(index))

    def compute(self, items):
        return self.encoder.embed([Signal(item, 16000 + int(item[0])) for item in items])

    def store(self, item, result):
        if item[0] == 7:
            raise OSError(28, "No space left on device")
        return os.getpid(), result.tolist()


class EchoEncoder:
    device = torch.device("cpu")
    sample_rate = 16000
    with_rates = Encoder.with_rates

    def embed(self, signals):
        if any(signal.samples[0] == 9 for signal in signals):
            raise ValueError("nine")
        return torch.tensor(
            [[float(one.samples[-1]), len(one.samples), one.rate] for one in signals]
        )


def test_every_index_gets_its_outcome_or_error():
    lengths = (100, 1, 3000, BATCH_BYTES // 2, 20)
    found = dict(run_in_processes(Echo(EchoEncoder(), lengths), together(range(40), 4), 3))
    assert sorted(found) == list(range(40))
    assert isinstance(found[5], UtteranceError)
    assert isinstance(found[7], OSError)
    assert found[7].errno == 28
    assert isinstance(found[9], ValueError)
    assert str(found[9]) == "nine"
    assert "embed" in "".join(found[9].__notes__)
    good = {index: outcome for index, outcome in found.items() if index not in (5, 7, 9)}
    for index, (process, embedding) in good.items():
        assert process != os.getpid()
        assert embedding == [index, lengths[index % 5], 16000 + index]


class Wire:
    """The connection of a process, which keeps what it is sent."""

    def __init__(self):
        self.sent = []

    def send(self, answer):
        self.sent.append(answer)


def asking(server, *signals):
    """Ask as a process does, and return where the answer comes."""
    child = encoder_server._Child(None, Wire(), SharedSignals())
    lengths = [len(samples) for samples, _ in signals]
    child.memory.array(sum(lengths))[:] = np.concatenate([samples for samples, _ in signals])
    server.ask(child, Request(lengths, [rate for _, rate in signals]))
    return child.connection.sent


class NotingEncoder(EchoEncoder):
    def __init__(self):
        self.sizes = []

    def embed(self, signals):
        self.sizes.append(len(signals))
        return super().embed(signals)


def test_what_waits_is_embedded_together():
    encoder = NotingEncoder()
    server = encoder_server._Server(encoder)
    group = int(GROUP_SECONDS)
    first = asking(server, (np.full(100, 1), 16000), (np.full(50, 2), 24000))
    second = asking(server, (np.full(group // 2, 3), 1), (np.full(group // 3, 4), 1))
    third = asking(server, (np.full(group // 2, 5), 1))
    long = asking(server, (np.full(10 * group, 6), 1))
    for _ in range(4):
        server.answer()
    assert encoder.sizes == [4, 1, 1]
    (first,), (second,), (third,), (long,) = first, second, third, long
    assert first.tolist() == [[1, 100, 16000], [2, 50, 24000]]
    assert second.tolist() == [[3, group // 2, 1], [4, group // 3, 1]]
    assert third.tolist() == [[5, group // 2, 1]]
    assert long.tolist() == [[6, 10 * group, 1]]


def test_an_error_is_for_the_process_whose_signals_cause_it():
    encoder = NotingEncoder()
    server = encoder_server._Server(encoder)
    sent = [asking(server, (np.full(10, i), 16000)) for i in (8, 9, 10)]
    server.answer()
    assert encoder.sizes == [3, 1, 1, 1]
    answers = [one for (one,) in sent]
    assert answers[0].tolist() == [[8, 10, 16000]]
    assert isinstance(answers[1], ValueError)
    assert answers[2].tolist() == [[10, 10, 16000]]


class Speech(Pipeline):
    """Embeds signals that follow from the index."""

    def __init__(self, encoder):
        self.encoder = encoder

    def load(self, index):
        dice = torch.Generator().manual_seed(index)
        return torch.randn(8000 + 900 * index, generator=dice)

    def compute(self, items):
        return self.encoder.embed([Signal(item, 24000) for item in items])

    def store(self, item, result):
        return result.tolist()


@pytest.mark.parametrize(
    ("part", "function"),
    [
        ("_uploads", "start"),
        ("normalizer", "normalize_together"),
        ("", "_features"),
        ("ragged", "embed"),
    ],
)
def test_a_lack_of_memory_costs_no_utterance_wherever_it_is_met(
    encoder, monkeypatch, part, function
):
    pipeline = Speech(encoder)
    expected = pipeline.compute([pipeline.load(index) for index in range(8)])
    owner = getattr(encoder, part) if part else encoder
    original = getattr(owner, function)

    def scarce(several):
        if len(several) > 1:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return original(several)

    monkeypatch.setattr(owner, function, scarce)
    monkeypatch.setattr(encoder.budget, "limit", encoder.budget.limit)
    found = dict(run_in_processes(pipeline, together(range(8), 4), 2))
    for index, embedding in found.items():
        difference = (torch.tensor(embedding) - expected[index]).abs().max()
        assert difference <= 1e-5 * expected[index].abs().max()
    assert len(found) == 8


@pytest.mark.parametrize("n_processes", [1, 3, 15])
@pytest.mark.parametrize("seconds", [0, 0.7, 5.6, 59])
def test_batches_are_cut_by_their_seconds(n_processes, seconds):
    utterances = [(seconds, index) for index in range(20_000)]
    long, batches = cut_batches([(700, -2), (601, -1), *utterances], n_processes)
    assert long == [Batch([-2], 700), Batch([-1], 601)]
    assert [i for batch in batches for i in batch.indices] == list(range(20_000))
    assert not any(batch.long_seconds for batch in batches)
    totals = [len(batch.indices) * (seconds + 0.1) for batch in batches[:-1]]
    usual = min(2 * GROUP_SECONDS / n_processes, GROUP_SECONDS)
    for number, total in enumerate(totals):
        least = min(usual, FIRST_SECONDS * 2 ** (number // n_processes))
        assert least - 0.01 < total < least + seconds + 0.2


class Timing(Echo):
    """Notes when a recording is held."""

    def load(self, index):
        return time.monotonic(), super().load(index)

    def compute(self, items):
        time.sleep(0.02)
        return super().compute([item for _, item in items])

    def store(self, item, result):
        return item[0], time.monotonic()


def test_few_long_recordings_are_held_at_a_time():
    seconds = {index: MAX_LONG_SECONDS // (1 + index // 3) for index in range(10, 25)}
    seconds[10] = 2 * MAX_LONG_SECONDS
    short = [(FIRST_SECONDS, index) for index in range(40, 50)]
    utterances = [*((one, index) for index, one in seconds.items()), *short]
    held = dict(run_in_processes(Timing(EchoEncoder()), utterances, 5))
    assert held.keys() == {index for _, index in utterances}
    for begun, _ in held.values():
        meanwhile = [i for i in seconds if held[i][0] <= begun <= held[i][1]]
        total = sum(seconds[i] for i in meanwhile)
        assert total <= MAX_LONG_SECONDS or len(meanwhile) == 1
    # Others are read meanwhile.
    assert any(held[i][0] < max(held[long][1] for long in seconds) for _, i in short)


class Cycle:
    """What only the garbage collector can free."""

    def __init__(self, freed):
        self.me = self
        self.freed = freed

    def __del__(self):
        self.freed.append(os.getpid())


class Collecting(Echo):
    """Drops what the encoder has, and collects garbage."""

    def store(self, item, result):
        self.encoder._encoder.cycle = None
        gc.collect()
        return list(self.encoder._encoder.freed)


def test_processes_do_not_free_what_their_parent_has_on_a_gpu():
    encoder = EchoEncoder()
    encoder.freed = []
    encoder.cycle = Cycle(encoder.freed)
    freed = dict(run_in_processes(Collecting(encoder), together(range(30, 40), 2), 2))
    assert freed == {index: [] for index in range(30, 40)}
    encoder.cycle = None
    gc.collect()
    assert encoder.freed == [os.getpid()]


def test_fewer_utterances_than_processes():
    assert dict(run_in_processes(Echo(EchoEncoder()), [(1.0, 3)], 4)).keys() == {3}
    assert dict(run_in_processes(Echo(EchoEncoder()), [], 4)) == {}


class OddError(UtteranceError):
    """Cannot be made anew of its message alone, as sending it to another process would."""

    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


class Odd(Echo):
    def load(self, index):
        assert (self.encoder.sample_rate, self.encoder.device.type) == (16000, "cpu")
        if index == 1:
            raise OddError("one", "odd")
        return super().load(index)

    def compute(self, items):
        return self.encoder.embed(items)


def test_odd_exceptions_and_mere_tensors():
    found = dict(run_in_processes(Odd(EchoEncoder()), together(range(4), 2), 2))
    assert type(found[1]) is UtteranceError
    assert str(found[1]) == "one: odd"
    assert "OddError" in found[1].__notes__[-1]
    assert found[3][1] == [3, 100, 16000]


class Failing(Echo):
    def compute(self, items):
        raise TaskError("wrong")


def test_an_error_of_the_task_ends_all():
    with pytest.raises(TaskError, match="wrong"):
        list(run_in_processes(Failing(EchoEncoder()), together(range(40), 4), 3))


class Killed(Echo):
    def store(self, item, result):
        if item[0] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().store(item, result)


def test_a_process_that_is_killed_ends_all():
    with pytest.raises(ShardError, match=r"status -9 .* Rerun the same command"):
        list(run_in_processes(Killed(EchoEncoder()), together(range(40), 4), 3))


class Deadly(int):
    """A limit of seconds that kills the process that compares with it."""

    def __ge__(self, other):
        return os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_while_it_holds_the_lock_ends_all(monkeypatch):
    monkeypatch.setattr(encoder_server, "MAX_LONG_SECONDS", Deadly())
    utterances = [(1000, 0), (1000, 1), *together(range(2, 40), 4)]
    with pytest.raises(ShardError, match="status -9"):
        list(run_in_processes(Echo(EchoEncoder()), utterances, 3))


class KilledInSending(Echo):
    def store(self, item, result):
        def send_half(connection, content):
            os.write(connection.fileno(), content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        if item[0] == 20:
            # Only in this forked process.
            Connection._send = send_half
        return super().store(item, result)


def test_a_process_that_is_killed_while_it_sends_ends_all():
    with pytest.raises(ShardError, match="status -9"):
        list(run_in_processes(KilledInSending(EchoEncoder()), together(range(40), 4), 3))


def test_a_process_that_cannot_be_answered_does_not_wait_for_ever(monkeypatch):
    job = os.getpid()

    def without_memory(outcome):
        if os.getpid() == job:
            raise MemoryError
        return outcome

    monkeypatch.setattr(encoder_server, "_portable", without_memory)
    with pytest.raises(ShardError, match="status -9"):
        list(run_in_processes(Echo(EchoEncoder()), together(range(9, 12), 1), 1))


class Endless(Echo):
    def load(self, index):
        if index > 20:
            time.sleep(3600)
        return super().load(index)


def test_the_caller_can_stop_early():
    # Tests that ran before this one may have left children of their own.
    before = set(children_of(os.getpid()))
    outcomes = run_in_processes(Endless(EchoEncoder()), together(range(40), 4), 3)
    next(outcomes)
    assert len(set(children_of(os.getpid())) - before) == 3
    outcomes.close()
    assert set(children_of(os.getpid())) <= before


ENDLESS = """
from tests.unit.job.test_encoder_server import Endless, EchoEncoder, run_in_processes, together

for _ in run_in_processes(Endless(EchoEncoder()), together(range(100), 4), 3):
    print("begun", flush=True)
"""


def test_processes_end_with_their_parent():
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "begun\n"
    children = children_of(parent.pid)
    assert len(children) == 3
    parent.kill()
    parent.communicate()
    while any(is_running(child) for child in children):
        time.sleep(0.01)


def test_a_process_that_is_forked_as_its_parent_ends_ends_too():
    nobody = 0
    process = get_context("fork").Process(target=die_with, args=(nobody,))
    process.start()
    process.join()
    assert process.exitcode == 1


def test_memory_grows_with_what_is_needed():
    memory = SharedSignals()
    memory.array(10)[:] = 1
    memory.array(BATCH_BYTES)[-1] = 2
    assert memory.array(BATCH_BYTES)[[0, 9, -1]].tolist() == [1, 1, 2]
    memory.shrink()
    assert memory.array(BATCH_BYTES)[[0, 9, -1]].tolist() == [1, 1, 0]
    memory.close()


@pytest.mark.parametrize("seed", range(20))
def test_memory_holds_what_was_written_however_it_grows_and_shrinks(seed):
    dice = np.random.default_rng(seed)
    sizes = np.exp(dice.uniform(0, np.log(20_000), 30)).astype(int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_server, "BATCH_BYTES", 2**14)
        here = SharedSignals()
        # As in a forked process: the same file, mapped anew.
        there = copy(here)
        for size in sizes:
            signals = dice.random(size, np.float32)
            there.array(size)[:] = signals
            received = here.array(size)
            assert np.array_equal(received, signals)
            # Nothing may be taken from what was there before.
            received[:] = np.nan
            there.shrink()
        here.close()
