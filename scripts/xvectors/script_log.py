"""Logging of the rules' scripts: to the rule's log file and to the terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xvectors.errors import MACHINE_ERRORS, XVectorsError

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
    # Toolkits give the root logger a handler when imported, and lines would come twice.
    logger.propagate = False
    try:
        yield
    except XVectorsError as error:
        for line in str(error).splitlines():
            logger.error("error: %s", line)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.error("error: interrupted; run the same command again")
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            where = f"{error.filename}: " if error.filename else ""
            logger.error("error: %s%s; what is done stays", where, error.strerror)
            sys.exit(1)
        to_file.handle(
            logger.makeRecord("xvectors", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        )
        raise
