"""Python's search path of the jobs."""

import os
from pathlib import Path


def share_package_with_jobs() -> None:
    """Let the jobs import this very package, wherever and in whichever environment they run.

    Python in a job looks through its own installed packages before the scripts' folder, where
    another version of this package may lie.
    """
    own = str(Path(__file__).resolve().parents[2])
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([own, *(path for path in others if path != own)])
