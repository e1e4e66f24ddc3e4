"""The project's exceptions: each message says what is wrong, where, and what to do."""

import errno
import re
from pathlib import Path

# The end of a message about a problem outside the project, such as a full disk.
FIX_AND_RERUN = "Fix this and rerun the same command. Finished work is kept"

# Errors that every other utterance would meet too: a full or read-only disk, no more file handles,
# no memory, a file server that does not answer, a disk that is broken or away.
MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EREMOTEIO,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOLCK,
    errno.ESHUTDOWN,
    errno.ENOMEDIUM,
}
# PyTorch's exceptions for a GPU without memory or out of order, by name, because only those who
# compute import it.
MACHINE_TYPES = {"torch.OutOfMemoryError", "torch.AcceleratorError", "torch.cuda.OutOfMemoryError"}
# First lines of other exceptions: no memory for PyTorch on a CPU, the loader of libraries, C++,
# Python and oneDNN, and a GPU or one of CUDA's libraries out of memory or out of order
# (c10/core/CPUAllocator.cpp, c10/cuda/CUDAException.h, aten/src/ATen/cuda/Exceptions.h,
# aten/src/ATen/native/cuda/CuFFTUtils.h, aten/src/ATen/native/cudnn/Conv_v8.cpp).
MACHINE_MESSAGES = re.compile(
    "|".join(
        (
            r"(\[.+\] .*)?DefaultCPUAllocator: (can't allocate memory|not enough memory).*",
            r".*: Cannot allocate memory",
            r"std::bad_alloc",
            r"can't start new thread",
            r"could not create a (primitive|memory object)\b.*",
            r"CUDA out of memory\..*",
            r"CUDA (driver |kernel )?error: .+",
            r"CUDA error \w+: .+",
            r"cu(DNN|FFT|BLAS|BLASLt|SPARSE|SOLVER) error: .+",
            r"cuDNN Frontend error: .+",
            r"(GET was )?[Uu]nable to find (an engine|a valid cuDNN algorithm)\b.*",
        )
    )
)


class XVectorsError(Exception):
    """An error that the user can fix. Only its message is shown, without a traceback."""

    def __init__(self, message: str) -> None:
        """Take a message with one line per problem."""
        super().__init__(printable(message))


class ConfigError(XVectorsError):
    """The configuration is wrong; the message names the file and the key."""


class ManifestError(XVectorsError):
    """A manifest is wrong; the message names the file, the line and the reason."""


class CorpusError(XVectorsError):
    """A corpus cannot be read; the message names the place in the corpus and the reason."""


class EncoderError(XVectorsError):
    """The encoder cannot be fetched or loaded."""


class TaskError(XVectorsError):
    """A provider or a runner breaks the rules of its interface."""


class ShardError(XVectorsError):
    """A shard could not be finished, or outputs cannot be read. Finished work is kept."""


class WriteError(XVectorsError):
    """A file of results cannot be written; the message names it and the reason."""


class ExportError(XVectorsError):
    """Embeddings do not fit into a format; the message names a format that fits."""


class TrialsError(XVectorsError):
    """A trial list is wrong; the message names the file, the line and the reason."""


class UtteranceError(XVectorsError):
    """One utterance cannot be processed; the message is the reason, as listed in failed.tsv.

    A runner's ``forward`` may raise it. The utterance counts as failed, and the others continue.
    """


def missing_or_damaged(path: Path) -> ShardError:
    """Return the exception for a file of results that cannot be read."""
    return ShardError(f"{path}: missing or damaged. Delete it and rerun the same command")


def machine_problem(error: BaseException) -> str | None:
    """Return the problem of this machine that caused an exception, in a line, or None."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    line = first_line(error)
    types = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if types & MACHINE_TYPES:
        return line
    if isinstance(error, RuntimeError | ImportError) and MACHINE_MESSAGES.fullmatch(line):
        return line
    return None


def explained(error: Exception) -> XVectorsError:
    """Return an exception as an error that the user can fix.

    That is one of this machine, or a file that this user may not read or write.

    Raises:
        Exception: The same exception, which is a defect.

    """
    if isinstance(error, XVectorsError):
        return error
    problem = machine_problem(error)
    if isinstance(error, PermissionError):
        problem = f"{error.filename}: {error.strerror}"
    if problem is None:
        raise error
    return XVectorsError(f"{problem}. {FIX_AND_RERUN}")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def as_error_lines(error: BaseException) -> str:
    """Return an exception's message for the terminal, each line with the prefix ``error:``."""
    return "\n".join(f"error: {line}" for line in str(error).splitlines())


def printable(text: str) -> str:
    """Return `text` with backslash codes for characters that are unsafe in terminals and logs.

    These are control characters other than the line feed, line separators, and bytes of names
    that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )
