import threading

from xvectors.run.snakemake_workarounds import cancel_timers


def test_timers_end_at_once():
    timer = threading.Timer(3600, print)
    timer.start()
    cancel_timers()
    timer.join()
