import errno
import io
import logging

import pytest

from xvectors.errors import ShardError
from xvectors.run.script_log import script_log
from xvectors.tasks.incremental import failure_reason

PROBLEMS = [
    (MemoryError(), "out of memory"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    (OSError(errno.EMFILE, "Too many open files", "x.wav"), "x.wav: Too many open files"),
    (PermissionError(errno.EACCES, "Permission denied", "out"), "out: Permission denied"),
    (RuntimeError("can't start new thread"), "can't start new thread"),
    (RuntimeError("could not create a primitive"), "could not create a primitive"),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes\nmore"),
        "can't allocate memory",
    ),
    (ImportError("libx.so: Cannot allocate memory"), "libx.so: Cannot allocate memory"),
    (ShardError("one\ntwo"), "two"),
]


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch):
    """Leave the package's logger as it was."""
    logger = logging.getLogger("xvectors")
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    yield
    for handler in logger.handlers:
        handler.close()


class FullDisk(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("error", "line"), PROBLEMS)
def test_what_the_user_can_mend_is_a_line_without_a_traceback(tmp_path, capsys, error, line):
    with pytest.raises(SystemExit), script_log(str(tmp_path / "log" / "a.log")):
        raise error
    for text in (capsys.readouterr().err, (tmp_path / "log" / "a.log").read_text()):
        assert "error: " in text
        assert line in text
        assert "Traceback" not in text


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), FileNotFoundError(2, "none")])
def test_a_defect_leaves_its_traceback_in_the_log(tmp_path, error):
    with pytest.raises(type(error)), script_log(str(tmp_path / "a.log")):
        raise error
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_an_utterance_that_fails_unexpectedly_leaves_its_traceback_in_the_log_alone(
    tmp_path, capsys
):
    with script_log(str(tmp_path / "a.log")):
        assert failure_reason(KeyError("speaker")) == "KeyError: 'speaker'"
    assert capsys.readouterr().err == ""
    assert "KeyError: 'speaker'" in (tmp_path / "a.log").read_text()


def test_a_log_on_a_full_disk_costs_its_lines_alone(tmp_path, capsys):
    logger = logging.getLogger("xvectors")
    with script_log(str(tmp_path / "a.log")):
        log = logger.handlers[-1]
        whole, log.stream = log.stream, FullDisk()
        logger.warning("a line")
        log.stream = whole
    assert capsys.readouterr().err == "a line\n"


def test_what_goes_well_is_in_the_log_alone(tmp_path, capsys):
    logger = logging.getLogger("xvectors")
    with script_log(str(tmp_path / "a.log")):
        logger.info("well")
        logger.warning("odd")
    assert capsys.readouterr().err == "odd\n"
    assert [line[-4:] for line in (tmp_path / "a.log").read_text().splitlines()] == ["well", " odd"]


def test_an_interrupt_is_in_the_log_alone(tmp_path, capsys):
    with pytest.raises(SystemExit), script_log(str(tmp_path / "a.log")):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
    assert "interrupted" in (tmp_path / "a.log").read_text()


def test_a_line_in_a_terminal_takes_the_place_of_the_progress_line(tmp_path, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", terminal)
    with script_log(str(tmp_path / "a.log")):
        logging.getLogger("xvectors").warning("odd")
    assert terminal.getvalue() == "\r\x1b[Kodd\n"
