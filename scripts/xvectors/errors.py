"""The project's exceptions: each message says what is wrong, where, and what to do."""

import errno

# What no other utterance would escape: a full or read-only disk, no more file handles, no memory.
MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
# Words for no memory, of PyTorch on a GPU and on a CPU, of the loader, of C++, of Python and of
# oneDNN, and for a GPU that is out of order, of CUDA and its libraries.
MACHINE_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "bad_alloc",
    "can't start new thread",
    "could not create a primitive",
    "CUDA",
    "cuDNN",
    "cuFFT",
    "CUBLAS",
)


class XVectorsError(Exception):
    """Something that the user can mend; shown as its message alone, without a traceback."""

    def __init__(self, message: str) -> None:
        """Take a message, a line for each problem."""
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
    """A provider or a runner breaks the rules of their interface."""


class ShardError(XVectorsError):
    """A shard could not be finished; what it has written stays."""


class WriteError(XVectorsError):
    """A file of results cannot be written; the message names it and the reason."""


class ExportError(XVectorsError):
    """Embeddings do not fit into a format; the message says which one does."""


class TrialsError(XVectorsError):
    """A trial list is wrong; the message names the file, the line and the reason."""


class UtteranceError(XVectorsError):
    """One utterance cannot be processed; the message is the reason, as listed in failed.tsv.

    A runner's ``forward`` may raise it: the utterance counts as failed and the others go on.
    """


def machine_problem(error: BaseException) -> str | None:
    """Return what an exception says of this machine in a line, None if it says nothing of it."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, RuntimeError | ImportError):
        message = str(error)
        return message.partition("\n")[0] if any(s in message for s in MACHINE_SIGNS) else None
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or else what kind of exception it is."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def as_error_lines(error: BaseException) -> str:
    """Return an exception's message as users get it: each of its lines called an error."""
    return "\n".join(f"error: {line}" for line in str(error).splitlines())


def printable(text: str) -> str:
    """Return `text` with a backslash code for what no terminal or log should get from a file.

    These are control characters but the line feed, line separators, and bytes of names that are
    not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )
