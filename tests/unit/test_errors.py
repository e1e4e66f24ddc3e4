import errno

import pytest

from xvectors.errors import machine_problem


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "/a: No space left on device"),
        (OSError(errno.ENOENT, "No such file or directory", "/a"), None),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory.\nmore"), "CUDA out of memory."),
        (RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"), "cuFFT error: CUFFT_INTERNAL_ERROR"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), "cuDNN error: CUDNN_STATUS_"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("CUDA"), None),
    ],
)
def test_what_is_said_of_this_machine(error, problem):
    found = machine_problem(error)
    assert found == problem or (problem and found.startswith(problem))
