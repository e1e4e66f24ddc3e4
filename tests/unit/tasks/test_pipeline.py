import sys
import threading
import weakref

import pytest

from xvectors import BaseRunner, EnvironmentProvider, UtteranceError
from xvectors.errors import TaskError
from xvectors.tasks.pipeline import (
    BATCHES_AHEAD,
    BATCHES_BEHIND,
    MAX_LOADED_BYTES,
    Pipeline,
    run_by_batch,
    run_sequential,
    run_threaded,
)


class Squares(Pipeline):
    """Squares indices, and notes what was done in which thread."""

    size = 0

    def __init__(self, bad_load=(), bad_compute=(), bad_store=()):
        self.bad = {"load": bad_load, "compute": bad_compute, "store": bad_store}
        self.done = {"load": [], "compute": [], "store": []}
        self.threads = {"load": set(), "compute": set(), "store": set()}

    def _note(self, stage, index):
        self.done[stage].append(index)
        self.threads[stage].add(threading.current_thread())
        if index in self.bad[stage]:
            raise UtteranceError(f"{stage} {index}")

    def load(self, index):
        self._note("load", index)
        return index

    def compute(self, items):
        for item in items:
            self._note("compute", item)
        return [item**2 for item in items]

    def store(self, item, result):
        self._note("store", item)
        return result

    def n_bytes(self, item):
        return self.size


def run(pipeline, indices=range(100), n_readers=3):
    return run_threaded(pipeline, indices, batch_size=4, n_readers=n_readers)


def test_every_index_gets_its_outcome_in_order():
    assert list(run(Squares())) == [(i, i**2) for i in range(100)]
    assert list(run_sequential(Squares(), range(100))) == [i**2 for i in range(100)]


def test_batch_by_batch():
    pipeline = Squares(bad_load=[5], bad_compute=[6], bad_store=[99])
    batches = list(run_by_batch(pipeline, range(100), 4, MAX_LOADED_BYTES))
    assert [len(batch) for batch in batches] == [4] * 25
    outcomes = dict(outcome for batch in batches for outcome in batch)
    assert [str(outcomes.pop(i)) for i in (5, 6, 99)] == ["load 5", "compute 6", "store 99"]
    assert outcomes == {i: i**2 for i in range(99) if i not in (5, 6)}
    pipeline.size = 100
    batches = run_by_batch(pipeline, range(40), 4, 150)
    assert [len(batch) for batch in batches] == [2, 2, 3, *[2] * 16, 1]


class Large:
    """What a computation has in memory."""


class Hungry(Squares):
    """Fails with more than one item, and notes how much of earlier failures is in memory."""

    def __init__(self):
        super().__init__()
        self.kept = weakref.WeakSet()
        self.n_kept = []

    def compute(self, items):
        self.n_kept.append(len(self.kept))
        large = Large()
        self.kept.add(large)
        if len(items) > 1:
            raise RuntimeError("out of memory")
        return super().compute(items)


def test_a_failed_batch_is_out_of_memory_when_its_items_are_computed_again():
    pipeline = Hungry()
    assert list(run(pipeline, range(8))) == [(i, i**2) for i in range(8)]
    assert pipeline.n_kept == [0] * 10


def test_only_computing_stays_in_the_callers_thread():
    pipeline = Squares()
    list(run(pipeline))
    assert pipeline.threads["compute"] == {threading.current_thread()}
    assert threading.current_thread() not in pipeline.threads["load"] | pipeline.threads["store"]


@pytest.mark.parametrize("stage", ["load", "compute", "store"])
def test_what_goes_wrong_with_one_costs_only_that_one(stage):
    bad = [5, 6, 99]
    found = list(run(Squares(**{f"bad_{stage}": bad})))
    assert [i for i, _ in found] == list(range(100))
    outcomes = dict(found)
    assert {i for i, outcome in outcomes.items() if isinstance(outcome, UtteranceError)} == {*bad}
    assert all(outcomes[i] == i**2 for i in range(100) if i not in bad)
    assert str(outcomes[99]) == f"{stage} 99"


def test_what_comes_next_is_loaded_and_what_is_done_is_stored_meanwhile():
    loaded, stored = threading.Event(), threading.Event()

    class Waiting(Squares):
        def load(self, index):
            if index == 11:
                loaded.set()
            return super().load(index)

        def compute(self, items):
            # The third batch is there before the first, and the first stored before the second.
            assert loaded.wait(60)
            assert 0 in items or stored.wait(60)
            return super().compute(items)

        def store(self, item, result):
            if item == 3:
                stored.set()
            return super().store(item, result)

    assert dict(run(Waiting(), range(12))) == {i: i**2 for i in range(12)}


def test_no_more_is_loaded_ahead_than_there_are_batches_for():
    pipeline = Squares()
    outcomes = run(pipeline)
    next(outcomes)
    assert len(pipeline.done["load"]) <= 4 * (BATCHES_AHEAD + BATCHES_BEHIND + 2) + 1
    outcomes.close()


def test_what_is_loaded_ahead_takes_little_memory():
    in_memory = 0
    largest = 0
    lock = threading.Lock()

    class Large(Squares):
        size = MAX_LOADED_BYTES

        def load(self, index):
            nonlocal in_memory, largest
            with lock:
                in_memory += 1
                largest = max(largest, in_memory)
            return super().load(index)

        def compute(self, items):
            nonlocal in_memory
            assert len(items) == 1
            with lock:
                in_memory -= len(items)
            return super().compute(items)

    assert dict(run(Large())) == {i: i**2 for i in range(100)}
    # One that is computed, what the room holds, and what each of three readers has in work.
    assert largest <= 1 + 2 + 3


def test_what_is_computed_is_stored_when_the_caller_stops_early():
    pipeline = Squares()
    outcomes = run(pipeline)
    next(outcomes)
    outcomes.close()
    assert sorted(pipeline.done["store"]) == sorted(pipeline.done["compute"])
    assert len(pipeline.done["store"]) < 100


def test_the_caller_can_stop_while_readers_wait_for_room():
    pipeline = Squares()
    pipeline.size = MAX_LOADED_BYTES
    outcomes = run(pipeline)
    next(outcomes)
    outcomes.close()
    assert len(pipeline.done["load"]) < 100


def test_an_interrupt_in_a_thread_is_not_lost():
    class Leaving(Squares):
        def load(self, index):
            if index == 5:
                sys.exit("left")
            return super().load(index)

    assert isinstance(dict(run(Leaving()))[5], SystemExit)


def test_an_error_of_the_task_ends_it_and_is_not_tried_again():
    class Wrong(Squares):
        def compute(self, items):
            if 8 in items:
                raise TaskError("wrong")
            return super().compute(items)

    pipeline = Wrong()
    with pytest.raises(TaskError, match="wrong"):
        list(run(pipeline))
    assert sorted(pipeline.done["store"]) == list(range(8))


def test_another_number_of_results_than_items():
    class Wrong(Squares):
        def compute(self, items):
            return [1, 2, 3]

    with pytest.raises(TaskError, match="3 results for 2 items: return one result per item"):
        list(run_sequential(Wrong(), range(2)))
    Wrong.compute = lambda self, items: None
    with pytest.raises(TaskError, match="returned NoneType for 2 items"):
        list(run(Wrong(), range(2)))


def test_run_in_turn_keeps_little_in_memory():
    class Counting(Squares):
        largest = 0

        def compute(self, items):
            self.largest = max(self.largest, len(items))
            return super().compute(items)

    pipeline = Counting()
    pipeline.size = MAX_LOADED_BYTES / 8
    list(run_sequential(pipeline, range(20)))
    assert pipeline.largest == 5


class Provider(EnvironmentProvider):
    def build_env_local(self):
        return {"factor": 10}

    def build_worker_setup_fn(self):
        return dict


class Plain(BaseRunner):
    @staticmethod
    def forward(idx, factor):
        return [i * factor for i in idx]


class Staged(Plain):
    @staticmethod
    def forward(idx, factor):
        return list(run_sequential(Staged.pipeline(), idx))

    @staticmethod
    def pipeline():
        return Squares()


class Overridden(Staged):
    @staticmethod
    def forward(idx, factor):
        return [-i * factor for i in idx]


@pytest.mark.parametrize(("kind", "expected"), [(Plain, 30), (Staged, 9), (Overridden, -30)])
def test_a_job_uses_the_stages_that_belong_to_forward(kind, expected):
    runner = kind(Provider({}), batch_size=2)
    pipeline = runner.build_pipeline({"factor": 10})
    assert dict(run(pipeline, [3])) == {3: expected}
    assert runner([3]) == [expected]


def test_stages_that_ask_for_what_the_environment_lacks():
    class Wrong(Staged):
        @staticmethod
        def forward(idx):
            return idx

        @staticmethod
        def pipeline(modle):
            return Squares()

    with pytest.raises(
        TaskError, match=r"Wrong.pipeline asks for modle, which .* \(it has factor\)"
    ):
        Wrong(Provider({}), batch_size=2).build_pipeline({"factor": 10})


def test_stages_that_are_none():
    class Wrong(Staged):
        @staticmethod
        def forward(idx):
            return idx

        @staticmethod
        def pipeline():
            return None

    with pytest.raises(TaskError, match=r"Wrong.pipeline returned a NoneType: return an object"):
        Wrong(Provider({}), batch_size=2).build_pipeline({})
