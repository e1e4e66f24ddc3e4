"""The note that a split was collected, with a hash of its done-markers.

Later steps depend on it in place of thousands of markers.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from xvectors.config.layout import Layout, shard_names
from xvectors.errors import ShardError
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import dump_checksummed, load_checksummed


def write_collected(layout: Layout, split: str, shards: Sequence[str]) -> None:
    """Note the done-markers of all of a split's shards. The note changes when a marker does."""
    markers = hashlib.sha256()
    for shard in shards:
        markers.update(layout.marker(split, shard).read_bytes())
    content = {"n_shards": len(shards), "markers": markers.hexdigest()}
    write_atomically(layout.collected(split), dump_checksummed(content))


def read_collected(path: Path) -> list[str]:
    """Return the names of a split's shards.

    Raises:
        ShardError: The note is missing or damaged.

    """
    try:
        return shard_names(load_checksummed(path.read_bytes())["n_shards"])
    except (OSError, ValueError, KeyError) as error:
        raise ShardError(f"{path}: damaged. Rerun the same command") from error


def is_whole(path: Path) -> bool:
    """Tell whether a note can be read."""
    try:
        read_collected(path)
    except ShardError:
        return False
    return True
