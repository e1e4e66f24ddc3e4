"""The project's exceptions: each message says what is wrong, where, and what to do."""

import errno

# What no other utterance would escape: a full or read-only disk, no more file handles.
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


class XVectorsError(Exception):
    """Something that the user can mend; shown as its message alone, without a traceback."""


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


class ExportError(XVectorsError):
    """Embeddings do not fit into a format; the message says which one does."""


class TrialsError(XVectorsError):
    """A trial list is wrong; the message names the file, the line and the reason."""


class UtteranceError(XVectorsError):
    """One utterance cannot be processed; the message is the reason, as listed in failed.tsv.

    A runner's ``forward`` may raise it: the utterance counts as failed and the others go on.
    """
