import pytest

from xvectors import (
    BaseRunner,
    EnvironmentProvider,
)
from xvectors.errors import TaskError
from xvectors.tasks.runner import build_worker_environment

TASK_ENVIRONMENT = {"factor": 10, "unused": None}


class Provider(EnvironmentProvider):
    environment = TASK_ENVIRONMENT

    def build_env_local(self):
        return self.environment

    def build_worker_setup_fn(self):
        return lambda: TASK_ENVIRONMENT


def test_both_interfaces_are_abstract():
    with pytest.raises(TypeError, match="abstract"):
        EnvironmentProvider({})
    with pytest.raises(TypeError, match="abstract"):
        BaseRunner(Provider({}))


def test_a_setup_function_that_is_a_dict():
    class Wrong(Provider):
        def build_worker_setup_fn(self):
            return TASK_ENVIRONMENT

    with pytest.raises(TaskError, match="returned a dict: return a function"):
        build_worker_environment(Wrong({}))
