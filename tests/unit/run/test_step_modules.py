from importlib.util import find_spec

import pytest

from xvectors.config.resolving import resolve_config
from xvectors.run import step_modules
from xvectors.run.step_modules import modules_of_steps
from xvectors.tasks.runner import BaseRunner

ENCODER = "xvectors.encoders.speechbrain.encoder"


class Other(BaseRunner):
    """A runner whose outputs are not checked."""


def modules(embeds_here: bool = True, **settings) -> list[str]:
    stages = modules_of_steps(resolve_config({"xvector": settings}), embeds_here)
    return [module for stage in stages.values() for module in stage]


@pytest.fixture
def gpus(monkeypatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(step_modules, "visible_gpus", lambda: found)
    return found


def test_all_of_them_are_there(gpus):
    found = modules()
    assert ENCODER in found
    assert all(find_spec(module) for module in found)


def test_the_encoder_only_where_jobs_embed_on_the_cpu(gpus):
    assert ENCODER not in modules(embeds_here=False)
    gpus.append("0")
    assert ENCODER not in modules()
    assert ENCODER in modules(device="cpu")


def test_a_runner_without_embeddings_needs_no_encoder(gpus):
    assert ENCODER not in modules(runner="tests.unit.run.test_step_modules.Other")


def test_pages_only_if_there_are_any(gpus):
    assert set(modules()) - set(modules(report=False)) == set(step_modules.PAGES)
