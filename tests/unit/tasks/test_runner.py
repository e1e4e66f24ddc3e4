import pytest

from xvectors import (
    BaseRunner,
    EnvironmentProvider,
)
from xvectors.errors import TaskError

TASK_ENVIRONMENT = {"factor": 10, "unused": None}


class Provider(EnvironmentProvider):
    environment = TASK_ENVIRONMENT

    def build_env_local(self):
        return self.environment

    def build_worker_setup_fn(self):
        return lambda: TASK_ENVIRONMENT


class Runner(BaseRunner):
    @staticmethod
    def forward(idx, factor):
        return [i * factor for i in idx] if isinstance(idx, list) else idx * factor


@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_results_come_in_the_order_of_the_indices(batch_size):
    assert Runner(Provider({}), batch_size)([3, 1, 2]) == [30, 10, 20]
    assert Runner(Provider({}), batch_size)([]) == []


def test_forward_gets_lists_only_with_a_batch_size():
    class Echo(Runner):
        @staticmethod
        def forward(idx, **env):
            assert env == TASK_ENVIRONMENT
            return [idx] * len(idx) if isinstance(idx, list) else idx

    assert Echo(Provider({}))([0, 1, 2]) == [0, 1, 2]
    assert Echo(Provider({}), batch_size=2)([0, 1, 2]) == [[0, 1], [0, 1], [2]]


def test_the_environment_is_built_once():
    class Counting(Provider):
        n_built = 0

        def build_env_local(self):
            Counting.n_built += 1
            return TASK_ENVIRONMENT

    Runner(Counting({}), batch_size=1)(range(5))
    assert Counting.n_built == 1


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, True, "4"])
def test_a_batch_size_below_one(batch_size):
    with pytest.raises(TaskError, match=r"batch_size is .*: give an integer from 1 on"):
        Runner(Provider({}), batch_size)


def test_a_parameter_that_the_environment_lacks_names_both_sides():
    class Wrong(Runner):
        @staticmethod
        def forward(idx, modle, factor=1):
            return idx

    with pytest.raises(TaskError) as error:
        Wrong(Provider({}))([0])
    for name in ("Wrong.forward", "modle", "Provider", "factor, unused"):
        assert name in str(error.value)


@pytest.mark.parametrize("wrong", [[1, 2, 3], None, 5, (1,)])
def test_another_number_of_results_than_indices(wrong):
    class Wrong(Runner):
        @staticmethod
        def forward(idx, factor):
            return wrong

    with pytest.raises(TaskError, match="for 2 indices: return a list with one result per index"):
        Wrong(Provider({}), batch_size=2)([0, 1])


def test_a_forward_that_is_no_static_method():
    class Wrong(Runner):
        def forward(self, idx, factor):
            return idx

    with pytest.raises(TaskError, match="make it a @staticmethod"):
        Wrong(Provider({}))


def test_an_environment_that_is_no_dict():
    class Wrong(Provider):
        environment = ("model", "data")

    with pytest.raises(TaskError, match="environment of type tuple: make a dict"):
        Runner(Wrong({}))([0])
