"""The parts of ``make gpu-check`` that need no GPU, so that it works when there is one."""

import subprocess
import sys

import pytest

from tests.support.checkout import REPOSITORY

pytestmark = pytest.mark.integration
SCRIPT = REPOSITORY / "tests" / "benchmark" / "gpu_check.py"


def test_its_parts_on_a_cpu():
    result = subprocess.run(
        [sys.executable, SCRIPT, "--device", "cpu"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if not line.startswith("--")]
    assert len(lines) == 4
    assert all(line.startswith("PASS ") for line in lines)
