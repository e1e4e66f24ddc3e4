"""The workflow on the cluster, as a user runs it.

Jobs one by one at a site without accounting are in test_faults.py.
"""

import torch

from tests.support.containers import pack_manifest

from .cluster import NODES
from .site import ALL_ONCE, Site

IN_ARRAYS = "--slurm-array-jobs=embed_shard"


def test_embeddings_of_containers_equal_those_of_files(checkout, embedded, cluster_with_accounting):
    pack_manifest(checkout.manifest, ["tar", "parquet"])
    status, printed = Site(checkout, cluster_with_accounting).run(IN_ARRAYS)
    assert status == 0, printed
    found, expected = checkout.vectors(), embedded.vectors()
    assert found.keys() == expected.keys()
    for utt_id, vector in found.items():
        assert torch.allclose(vector, expected[utt_id], atol=1e-6 * float(vector.abs().max()))


def test_each_job_has_a_gpu_at_a_site_with_accounting(gated_with_accounting):
    check_that_each_job_has_a_gpu(gated_with_accounting)


def test_each_job_of_an_array_has_a_gpu(gated):
    check_that_each_job_has_a_gpu(gated, IN_ARRAYS)


def check_that_each_job_has_a_gpu(site: Site, *arguments: str) -> None:
    """Run four jobs at once, which need all GPUs, and run again."""
    site.checkout.xvector["n_shards"] = 4
    site.start(*arguments)
    site.wait_for_jobs(4)
    site.open_gate()
    status, printed = site.end()
    assert status == 0, printed
    assert site.places() == {(gpu, node) for gpu in "01" for node in NODES}
    assert site.times_done() == ALL_ONCE
    status, printed = site.run(*arguments)
    assert status == 0, printed
    assert "Nothing to be done" in printed
