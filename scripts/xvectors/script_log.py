"""Logging of the rules' scripts: to the rule's log file and to the terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xvectors.errors import XVectorsError

logger = logging.getLogger("xvectors")


@contextmanager
def script_log(path: str) -> Iterator[None]:
    """Log to `path` and to stderr while a script runs, and end it as a user expects.

    What the user can mend is shown as its message alone and ends the script with status 1;
    anything else is a defect and leaves its traceback in the log too.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    logger.setLevel(logging.INFO)
    logger.handlers = [to_file, to_terminal]
    try:
        yield
    except XVectorsError as error:
        for line in str(error).splitlines():
            logger.error("error: %s", line)
        sys.exit(1)
    except Exception:
        to_file.handle(
            logger.makeRecord("xvectors", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        )
        raise
