"""Clusters for the tests: brought up once, made whole again before each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import Checkout

from .cluster import Cluster, reason_to_skip, running_cluster
from .site import TASK, Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def slurm_packages() -> None:
    """Skip where this machine cannot run a cluster."""
    if reason := reason_to_skip():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def session_cluster(slurm_packages: None) -> Iterator[Cluster]:
    """A site without accounting, for tests that use it one after the other."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_cluster_with_accounting(slurm_packages: None) -> Iterator[Cluster]:
    """A site with accounting, for tests that use it one after the other."""
    with running_cluster(accounting=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """A site without accounting, both nodes idle; the test's jobs end with it."""
    yield session_cluster
    session_cluster.restore()


@pytest.fixture
def cluster_with_accounting(session_cluster_with_accounting: Cluster) -> Iterator[Cluster]:
    """A site with accounting, both nodes idle; the test's jobs end with it."""
    yield session_cluster_with_accounting
    session_cluster_with_accounting.restore()


@pytest.fixture(params=["without accounting", "with accounting"])
def any_cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each kind of site in turn."""
    return request.getfixturevalue(
        "cluster_with_accounting" if request.param == "with accounting" else "cluster"
    )


@pytest.fixture
def gated(checkout: Checkout, cluster: Cluster) -> Iterator[Site]:
    """A site without accounting whose jobs, two of four utterances, wait after the first one."""
    yield from gated_on(checkout, cluster)


@pytest.fixture
def gated_with_accounting(checkout: Checkout, cluster_with_accounting: Cluster) -> Iterator[Site]:
    """The same with accounting."""
    yield from gated_on(checkout, cluster_with_accounting)


def gated_on(checkout: Checkout, cluster: Cluster) -> Iterator[Site]:
    checkout.use_task(TASK, pretrained_model=None, batch_size=None)
    site = Site(checkout, cluster)
    site.notes.mkdir()
    yield site
    site.kill_snakemake()
