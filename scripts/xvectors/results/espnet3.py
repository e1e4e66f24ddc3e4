"""Export to ESPnet3: a link where its recipes look for a split's embeddings."""

import os
from pathlib import Path

from xvectors.config.layout import Layout
from xvectors.errors import ExportError, WriteError
from xvectors.files.atomic import write_atomically


def link_split(layout: Layout, split: str) -> None:
    """Link ``<save_path>/<tag>_<split>`` to ``<tag>/<split>``, and write a note of it.

    The link is relative, so that it still works when `save_path` is moved. The note is a separate
    file, because Snakemake removes a job's outputs before the job runs. The link's place may hold a
    folder of embeddings that ESPnet3 has made.

    Raises:
        ExportError: Something else is there.

    """
    link, target = layout.espnet3_link(split), layout.espnet3_target(split)
    if not is_linked(layout, split):
        if link.exists() and not link.is_symlink():
            raise ExportError(
                f"{link}: exists and is not a link; move it away, or leave espnet3 out of "
                "xvector.exports"
            )
        _replace_link(link, target)
    write_atomically(layout.espnet3(split), f"{link.name} -> {target}\n".encode())


def is_linked(layout: Layout, split: str) -> bool:
    """Tell whether the link is there and points to the split's embeddings."""
    link = layout.espnet3_link(split)
    return link.is_symlink() and link.readlink() == layout.espnet3_target(split)


def _replace_link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(link)
    except OSError as error:
        raise WriteError(f"{link}: cannot be made a link: {error.strerror}") from error
