"""Threads of products on a CPU: no more than OpenMP grants, and checked to be right.

oneDNN divides a product among the threads that OpenMP announces. If OpenMP then grants fewer, the
parts of the missing threads are never computed, and no error is raised. OMP_THREAD_LIMIT,
OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS all cause this.
"""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import threadpool_info
from torch.nn import functional

from xvectors.encoders.prepacked import linear, prepack
from xvectors.errors import EncoderError

logger = logging.getLogger(__name__)
# Every thread meets the same problem; it is logged once.
warn_once = cache(logger.warning)

# Shape of a usual layer's product: large enough to be divided among threads.
FRAMES, CHANNELS = 1000, 512
# Error relative to the largest element. Rounding to bf16 gives 0.005, a missing part about 1.
MAX_ERROR = 0.05


def use_safe_threads(*dtypes: torch.dtype) -> None:
    """Compute with as many threads as give right products, at most as many as are set now.

    Products of each type are checked once per number of threads. Call it in every thread that
    computes, because OpenMP keeps its settings per thread. After the first call it takes a few
    microseconds.

    Raises:
        EncoderError: Products are wrong even with one thread.

    """
    for openmp in _openmp_libraries():
        openmp.omp_set_dynamic(0)
        granted = openmp.omp_get_thread_limit()
        if torch.get_num_threads() > granted:
            warn_once("OpenMP grants %d of %d threads", granted, torch.get_num_threads())
            torch.set_num_threads(granted)
    for dtype in dtypes:
        n_threads = torch.get_num_threads()
        if are_products_right(dtype, n_threads):
            continue
        torch.set_num_threads(1)
        if not are_products_right(dtype, 1):
            raise EncoderError(
                f"products in {dtype} are wrong on this CPU with PyTorch {torch.__version__}; use "
                "another machine or another build of PyTorch"
            )
        warn_once(
            "products in %s are wrong with %d threads here; going on with one thread (check the "
            "OMP_ variables of the environment)",
            dtype,
            n_threads,
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Temporarily compute with one thread.

    It suits networks of many small steps, such as LSTMs. With several threads each step waits for
    all of them, which takes a hundred times as long on a machine that has other work, too.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@cache
def are_products_right(dtype: torch.dtype, n_threads: int) -> bool:
    """Compare plain and prepacked products, with the `n_threads` that are set, to NumPy's."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(FRAMES, CHANNELS, generator=generator)
    weight = torch.randn(CHANNELS, CHANNELS, generator=generator)
    # NumPy's BLAS does not use OpenMP.
    expected = torch.from_numpy(x.numpy() @ weight.numpy().T)
    x, weight = x.to(dtype), weight.to(dtype)
    products = [functional.linear(x, weight)]
    prepacked = prepack(weight)
    if prepacked is not None:
        products.append(linear(x, prepacked))
    limit = MAX_ERROR * expected.abs().max()
    # NaN is not within the limit either.
    return all(bool(((one.float() - expected).abs() <= limit).all()) for one in products)


@cache
def _openmp_libraries() -> list[ctypes.CDLL]:
    """Return the OpenMP libraries of this process, PyTorch's own among them."""
    paths = {info["filepath"] for info in threadpool_info() if info["user_api"] == "openmp"}
    return [ctypes.CDLL(path) for path in sorted(paths)]
