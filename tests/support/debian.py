"""Packages that some tests need, from Debian."""

import os
import subprocess
from collections.abc import Iterable


class DebianError(Exception):
    """Packages cannot be had."""


def install(packages: Iterable[str]) -> None:
    """Install Debian packages, which needs root.

    Raises:
        DebianError: They cannot be had.

    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    for each in (["apt-get", "update", "--quiet"], command):
        result = subprocess.run(
            each,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
            raise DebianError(f"{' '.join(each[:2])}: {reason}")
