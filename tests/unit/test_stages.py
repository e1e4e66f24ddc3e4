import threading

import pytest

from xvectors import BaseRunner, EnvironmentProvider, UtteranceError
from xvectors.errors import TaskError
from xvectors.stages import (
    BATCHES_AHEAD,
    BATCHES_BEHIND,
    SECONDS_AHEAD,
    Batch,
    Stages,
    run_in_turn,
    run_overlapped,
)


class Squares(Stages):
    """Squares indices, and notes what was done in which thread."""

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
        return 10**7


def in_batches(n_batches, size=4, seconds=1.0):
    return [Batch(range(i * size, (i + 1) * size), seconds) for i in range(n_batches)]


def test_every_index_gets_its_outcome():
    stages = Squares()
    outcomes = dict(run_overlapped(stages, in_batches(25), n_readers=3))
    assert outcomes == {i: i**2 for i in range(100)}
    assert list(run_in_turn(stages, range(100))) == [i**2 for i in range(100)]


def test_only_computing_stays_in_the_callers_thread():
    stages = Squares()
    list(run_overlapped(stages, in_batches(25), n_readers=3))
    assert stages.threads["compute"] == {threading.current_thread()}
    assert threading.current_thread() not in stages.threads["load"] | stages.threads["store"]


@pytest.mark.parametrize("stage", ["load", "compute", "store"])
def test_what_goes_wrong_with_one_costs_only_that_one(stage):
    bad = [5, 6, 99]
    outcomes = dict(run_overlapped(Squares(**{f"bad_{stage}": bad}), in_batches(25), 2))
    assert {i for i, outcome in outcomes.items() if isinstance(outcome, UtteranceError)} == {*bad}
    assert all(outcomes[i] == i**2 for i in range(100) if i not in bad)
    assert str(outcomes[99]) == f"{stage} 99"


def test_no_more_is_loaded_ahead_than_the_bounds_say():
    stages = Squares()
    outcomes = run_overlapped(stages, in_batches(50), n_readers=2)
    next(outcomes)
    assert len(stages.done["load"]) <= 4 * (BATCHES_AHEAD + BATCHES_BEHIND + 2)
    outcomes.close()

    pulled = []

    def long_ones():
        for batch in in_batches(50, seconds=SECONDS_AHEAD + 1):
            pulled.append(batch)
            yield batch

    outcomes = run_overlapped(stages, long_ones(), n_readers=2)
    next(outcomes)
    assert len(pulled) == BATCHES_BEHIND + 1
    outcomes.close()


def test_what_is_computed_is_stored_when_the_caller_stops_early():
    stages = Squares()
    outcomes = run_overlapped(stages, in_batches(50), n_readers=2)
    next(outcomes)
    outcomes.close()
    assert sorted(stages.done["store"]) == sorted(stages.done["compute"])
    assert len(stages.done["store"]) < 200


def test_batches_that_fail_end_it_with_what_is_computed_stored():
    def breaking():
        yield from in_batches(10)
        raise KeyError("stop")

    stages = Squares()
    with pytest.raises(KeyError, match="stop"):
        list(run_overlapped(stages, breaking(), n_readers=2))
    assert sorted(stages.done["store"]) == sorted(stages.done["compute"])


def test_an_error_of_the_task_ends_it_and_is_not_tried_again():
    class Wrong(Squares):
        def compute(self, items):
            if 8 in items:
                raise TaskError("wrong")
            return super().compute(items)

    stages = Wrong()
    with pytest.raises(TaskError, match="wrong"):
        list(run_overlapped(stages, in_batches(10), n_readers=2))
    assert sorted(stages.done["store"]) == list(range(8))


def test_another_number_of_results_than_items():
    class Wrong(Squares):
        def compute(self, items):
            return [1, 2, 3]

    with pytest.raises(TaskError, match="3 results for 2 items: return one per item"):
        list(run_in_turn(Wrong(), range(2)))


def test_run_in_turn_keeps_little_in_memory():
    class Counting(Squares):
        largest = 0

        def compute(self, items):
            self.largest = max(self.largest, len(items))
            return super().compute(items)

    stages = Counting()
    list(run_in_turn(stages, range(20)))
    assert stages.largest == 4


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
        return list(run_in_turn(Staged.stages(), idx))

    @staticmethod
    def stages():
        return Squares()


class Overridden(Staged):
    @staticmethod
    def forward(idx, factor):
        return [-i * factor for i in idx]


@pytest.mark.parametrize(("kind", "expected"), [(Plain, 30), (Staged, 9), (Overridden, -30)])
def test_a_job_uses_the_stages_that_belong_to_forward(kind, expected):
    runner = kind(Provider({}), batch_size=2)
    stages = runner.in_stages({"factor": 10})
    assert dict(run_overlapped(stages, [Batch([3], 1.0)], 2)) == {3: expected}
    assert runner([3]) == [expected]


def test_stages_that_ask_for_what_the_environment_lacks():
    class Wrong(Staged):
        @staticmethod
        def forward(idx):
            return idx

        @staticmethod
        def stages(modle):
            return Squares()

    with pytest.raises(TaskError, match=r"Wrong.stages asks for modle, which .* \(it has factor\)"):
        Wrong(Provider({}), batch_size=2).in_stages({"factor": 10})
