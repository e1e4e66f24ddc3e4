import errno

import pytest
import torch

from xvectors.errors import ConfigError, explained, machine_problem


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
        (torch.OutOfMemoryError("no memory left"), "no memory left"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "CUDA error: unspec"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might"), "CUDA error: out of"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "GET was"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `f()`"), "CUDA error: "),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 8 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "[enforce fail at alloc_cpu.cpp:124]",
        ),
        (RuntimeError("std::bad_alloc"), "std::bad_alloc"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (RuntimeError("could not create a primitive"), "could not create a primitive"),
        (ImportError("libx.so: failed to map segment: Cannot allocate memory"), "libx.so: "),
        # What a runner of one's own may say of one utterance.
        (RuntimeError("this model has no CUDA kernel for 3 channels"), None),
        (RuntimeError("speaker CUDA-7 is unknown"), None),
        (RuntimeError("the codec ran out of memory banks, see the cuDNN page"), None),
    ],
)
def test_what_is_said_of_this_machine(error, problem):
    found = machine_problem(error)
    assert found == problem or (problem and found.startswith(problem))


@pytest.mark.parametrize(
    "number",
    [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENXIO],
)
def test_a_file_server_or_disk_that_is_away_is_a_problem_of_the_machine(number):
    assert machine_problem(OSError(number, "away", "/a.wav")) == "/a.wav: away"


def test_a_gpu_error_of_the_toolkit_itself_is_recognised_by_its_type():
    class Worse(torch.OutOfMemoryError):
        pass

    assert machine_problem(Worse("odd")) == "odd"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_read_is_named(number):
    assert str(explained(OSError(number, "away", "/a"))) == (
        "/a: away. Fix this and rerun the same command. Finished work is kept"
    )


def test_an_error_of_the_users_stays_and_a_defect_is_raised():
    error = ConfigError("wrong")
    assert explained(error) is error
    with pytest.raises(KeyError, match="a defect"):
        explained(KeyError("a defect"))
