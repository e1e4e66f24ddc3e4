"""Logging of the rules' scripts to the rule's log file and the terminal."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.config.settings import Settings
from xvectors.errors import as_error_lines, explained
from xvectors.files.run_lock import RunLock

logger = logging.getLogger("xvectors")

CLEAR_LINE = "\r\x1b[K"
# What stands before an error's message in a log file.
ERROR = " ERROR "


@contextmanager
def running(snakemake: Any) -> Iterator[Settings]:
    """Log a script, join its run's lock of the output folder, and yield the settings.

    `snakemake` is the object that Snakemake gives to scripts.
    """
    with script_log(snakemake.log[0]):
        settings = resolve_config(snakemake.config)
        RunLock(Layout.of(settings).root).join()
        yield settings


@contextmanager
def script_log(path: str) -> Iterator[None]:
    """Log to `path` and stderr while a script runs, and handle its errors.

    For an error that the user can fix, only the message is shown, and the status is 1. Any other
    error is a defect. Its traceback is logged too.
    """
    to_terminal = logging.StreamHandler(sys.stderr)
    # The run's progress line and summary tell what went well.
    to_terminal.setLevel(logging.WARNING)
    # Tracebacks belong in the log.
    to_terminal.addFilter(lambda record: not record.exc_info)
    # The progress line of the run may be where a terminal's cursor is.
    clear = CLEAR_LINE if sys.stderr.isatty() else ""
    to_terminal.setFormatter(logging.Formatter(f"{clear}%(message)s"))
    logger.setLevel(logging.INFO)
    logger.handlers = [to_terminal]
    # Toolkits add a handler to the root logger when imported. Lines would appear twice.
    logger.propagate = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        logger.addHandler(_LogFile(path))
        yield
    except KeyboardInterrupt:
        # The run says so itself.
        logger.removeHandler(to_terminal)
        logger.error("error: interrupted. Rerun the same command. Finished work is kept")
        sys.exit(1)
    except Exception as error:
        try:
            lines = as_error_lines(explained(error)).splitlines()
        except Exception:
            logger.exception("failed")
            raise
        for line in lines:
            logger.error("%s", line)
        sys.exit(1)


class _LogFile(logging.FileHandler):
    """A log file that drops lines if the disk is full. The terminal shows them too."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, mode="w", encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
