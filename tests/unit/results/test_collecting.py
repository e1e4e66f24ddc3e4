import threading
import time

from xvectors.results.collecting import _wait_for


def test_a_file_that_is_seen_late_is_waited_for(tmp_path):
    late = tmp_path / "a.pt"
    timer = threading.Timer(0.3, late.touch)
    timer.start()
    _wait_for(late, time.monotonic() + 60)
    assert late.exists()
    timer.join()


def test_a_file_that_is_lost_is_not_waited_for_for_ever(tmp_path):
    _wait_for(tmp_path / "a.pt", time.monotonic() + 0.3)
    _wait_for(tmp_path / "a.pt", time.monotonic() - 1)
    assert not (tmp_path / "a.pt").exists()
