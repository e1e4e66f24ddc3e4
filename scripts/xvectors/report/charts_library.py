"""The JavaScript that draws charts, bundled once per user."""

import hashlib
import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from xvectors.errors import WriteError
from xvectors.files.atomic import write_atomically

VEGA_LITE = "6.4"
SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def charts_library() -> str:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed.

    To bundle it takes longer than all the rest of a page, so it is kept in the user's cache.
    """
    kept = _kept()
    if kept is None:
        return _bundle()
    with suppress(OSError, ValueError):
        checksum, _, library = kept.read_bytes().decode().partition("\n")
        if checksum == _checksum(library):
            return library
    library = _bundle()
    # A home folder may be read-only or full.
    with suppress(OSError, WriteError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, f"{_checksum(library)}\n{library}".encode(), durable=False)
    return library


def _bundle() -> str:
    import vl_convert  # noqa: PLC0415 - 80 MB, rarely needed

    library: str = vl_convert.javascript_bundle(SNIPPET, vl_version=VEGA_LITE)
    return library


def _checksum(library: str) -> str:
    return hashlib.sha256(library.encode()).hexdigest()


def _kept() -> Path | None:
    """Return where the cache has it, None for a user without a home."""
    try:
        cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    name = f"charts-{version('vl-convert-python')}-{VEGA_LITE}.js"
    return cache_folder / "xvectors" / name
