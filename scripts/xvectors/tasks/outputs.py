"""The outputs of a runner: their storage and their checks."""

from collections.abc import Iterable

from xvectors.config.imports import import_class
from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.storage.base import Storage
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.packed_storage import PackedStorage
from xvectors.tasks.runner import BaseRunner
from xvectors.tasks.xvectors import XVectorRunner


def runner_class(settings: Settings) -> type[BaseRunner]:
    """Return the runner that a resolved configuration names."""
    found: type[BaseRunner] = import_class(settings.xvector.runner, "xvector.runner")
    return found


def is_own(runner: str) -> bool:
    """Tell whether a runner, given by its full name, is this project's."""
    return runner.partition(".")[0] == __name__.partition(".")[0]


def storage_of(settings: Settings, split: str, shard: str, utt_ids: Iterable[str] = ()) -> Storage:
    """Return the storage of a shard's embeddings.

    To find, save or finish embeddings it needs the shard's utterances.
    """
    folder = Layout.of(settings).embeddings(split)
    if settings.xvector.storage == "packed":
        return PackedStorage(folder, shard, utt_ids)
    runner = runner_class(settings)
    return FileStorage(folder, runner.output_path, runner.check_output)


def can_pack(runner: type[BaseRunner]) -> bool:
    """Tell whether the job stores a runner's embeddings, so that they can be packed."""
    own = ("forward", "pipeline", "output_path", "check_output")
    return all(getattr(runner, name) is getattr(XVectorRunner, name) for name in own)


def makes_embeddings(runner: type[BaseRunner]) -> bool:
    """Tell whether a runner's outputs are checked to be speaker embeddings."""
    return runner.check_output is XVectorRunner.check_output
