import logging

from xvectors.job import progress
from xvectors.job.progress import Progress


def test_a_log_gets_a_line_now_and_then(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="xvectors")
    with Progress("train 0-of-2", 10) as bar:
        bar.count(12.0)
        assert caplog.messages == []
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
        bar.count(30.0)
    (line,) = caplog.messages
    assert line.startswith("train 0-of-2: 2 of 10, ")
    assert "utterances/s" in line
    assert "x real time" in line


def test_speed():
    assert progress.speed(10, 60.0, 2.0) == "5.0 utterances/s, 30.0 x real time"
    assert progress.speed(0, 0.0, 0.0) == "0.0 utterances/s, 0.0 x real time"
