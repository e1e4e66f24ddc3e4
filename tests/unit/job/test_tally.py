import errno

import pytest

from xvectors import UtteranceError
from xvectors.job.tally import MAX_FAILURES_AT_FIRST, Tally
from xvectors.sharding.index_shards import IndexShard


def shard_of(n_utterances: int) -> IndexShard:
    columns = [[str(i) for i in range(n_utterances)]] * 2
    rest = [[None] * n_utterances, [1.0] * n_utterances]
    return IndexShard(list(range(n_utterances)), *columns, *rest, audio="")


def test_many_unexpected_failures_without_a_success_are_a_defect():
    work = Tally(shard_of(2 * MAX_FAILURES_AT_FIRST + 1))
    for i in range(MAX_FAILURES_AT_FIRST):
        work.count(2 * i, ValueError("odd"))
        work.count(2 * i + 1, UtteranceError("bad file"))
    assert len(work.failures) == 2 * MAX_FAILURES_AT_FIRST
    with pytest.raises(ValueError, match="odd"):
        work.count(2 * MAX_FAILURES_AT_FIRST, ValueError("odd"))


def test_many_unexpected_failures_after_an_earlier_success_are_listed():
    work = Tally(shard_of(3 * MAX_FAILURES_AT_FIRST), n_skipped=1)
    for i in range(3 * MAX_FAILURES_AT_FIRST):
        work.count(i, ValueError("odd"))
    assert len(work.failures) == 3 * MAX_FAILURES_AT_FIRST


def test_many_unexpected_failures_among_successes_are_listed():
    work = Tally(shard_of(6 * MAX_FAILURES_AT_FIRST))
    for i in range(3 * MAX_FAILURES_AT_FIRST):
        work.count(2 * i, {"utt_id": "a", "status": "ok"})
        work.count(2 * i + 1, ValueError("odd"))
    assert work.n_written == len(work.failures) == 3 * MAX_FAILURES_AT_FIRST


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        OSError(errno.ESTALE, "Stale file handle"),
        SystemExit(),
    ],
)
def test_what_concerns_the_machine_ends_the_job_at_once(error):
    with pytest.raises(type(error)):
        Tally(shard_of(1)).count(0, error)
