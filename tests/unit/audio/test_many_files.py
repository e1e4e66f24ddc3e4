import threading
import time

import pytest

from xvectors.audio import many_files
from xvectors.audio.many_files import map_overlapped


@pytest.mark.parametrize("computed", [0.0, 1.0])
def test_threads_read_where_reading_waits(monkeypatch, computed):
    # By these clocks, every look takes a second, of which all or nothing is computing.
    clocks = {"perf_counter": 0.0, "thread_time": 0.0}

    def clock(name, step):
        def look():
            clocks[name] += step
            return clocks[name]

        return look

    monkeypatch.setattr(time, "perf_counter", clock("perf_counter", 1.0))
    monkeypatch.setattr(time, "thread_time", clock("thread_time", computed))
    monkeypatch.setattr(many_files, "PROBE_SECONDS", 2)
    threads = {}

    def read(item):
        threads[item] = threading.current_thread()
        return -item

    assert list(map_overlapped(read, range(100))) == [-item for item in range(100)]
    own = [item for item in range(100) if threads[item] is threading.main_thread()]
    # Of 33, the first is read alone.
    assert own == (list(range(100)) if computed else [0, 33, 66, 99])


def test_an_error_ends_it():
    def read(item):
        if item == 3:
            raise OSError(item)
        return item

    with pytest.raises(OSError, match="3"):
        list(map_overlapped(read, range(10_000)))
    assert list(map_overlapped(read, [])) == []
