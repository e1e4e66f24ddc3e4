"""What a user sees in a terminal of 100 columns."""

import fcntl
import os
import re
import struct
import subprocess
import termios
import time

import pytest

from tests.support.checkout import QUICK_TASK

pytestmark = pytest.mark.integration

# Two seconds for each utterance.
SLOW_TASK = QUICK_TASK.replace(
    "            shutil.copy(", "            __import__('time').sleep(2)\n            shutil.copy("
)
COLUMNS = 100
SPLITS = ["test", "train", "valid"]


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, checkout) -> None:
        self.master, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *checkout.command()],
            cwd=checkout.root,
            env=checkout.environment() | {"TERM": "xterm"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        self.text = ""

    def read_until(self, pattern: str, seconds: float = 900) -> None:
        """Read until a pattern is there, or, if it is empty, until the command ends."""
        latest = time.monotonic() + seconds
        while not (pattern and re.search(pattern, self.text)):
            assert time.monotonic() < latest, self.text
            try:
                part = os.read(self.master, 2**16)
            except OSError:  # Linux's way to say that nobody has the terminal open any more
                part = b""
            if not part:
                assert not pattern, self.text
                return
            self.text += part.decode(errors="replace")

    def end(self) -> int:
        self.read_until("")
        os.close(self.master)
        return self.process.wait(timeout=60)

    def lines(self) -> list[str]:
        """Return the lines that stay: of each, what was written last over the rest."""
        lines = self.text.replace("\r\n", "\n").rstrip("\n").split("\n")
        return [re.sub(r"\x1b\[[0-9;]*[mK]", "", line.rpartition("\r")[2]) for line in lines]


def test_a_run_of_24_shards_is_a_bar_and_few_lines(checkout):
    checkout.use_task(QUICK_TASK, n_shards=8, splits=SPLITS)
    checkout.xvector["manifest_paths"] = dict.fromkeys(SPLITS, "corpus/train.tsv")
    terminal = Terminal(checkout)
    assert terminal.end() == 0, terminal.text
    lines = terminal.lines()
    assert len(lines) <= 30, lines
    assert lines[-1].startswith("results: out/tag, total time ")
    for split in SPLITS:
        (line,) = (line for line in lines if line.startswith(f"{split}: "))
        assert line.startswith(f"{split}: 8 embedded, 0 already embedded, 0 failed, ")
    assert re.search(r"\d+% \|.+\| \d+/24 utterances", terminal.text)
    bars = re.findall(r"\d+% \|[^\r\n]*", terminal.text)
    assert max(map(len, bars)) <= COLUMNS
    assert not (checkout.out / ".progress").exists()


def test_an_interrupted_run_says_so_in_one_line(checkout):
    checkout.use_task(SLOW_TASK, n_shards=1, batch_size=None)
    terminal = Terminal(checkout)
    terminal.read_until(r"[1-7]/8 utterances")
    os.write(terminal.master, b"\x03")
    assert terminal.end() != 0
    assert "Traceback" not in terminal.text
    lines = terminal.lines()
    (line,) = (line for line in lines if "interrupted" in line)
    found = re.fullmatch(
        r"interrupted: at least (\d) embeddings are kept\. Rerun the same command to go on", line
    )
    assert found, lines
    checkout.use_task(QUICK_TASK)
    kept = re.search(r"train: \d embedded, (\d) already embedded", checkout.run_well())
    assert 1 <= int(found[1]) <= int(kept[1])
