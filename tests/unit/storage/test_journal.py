import numpy as np
import pytest

from xvectors.audio.signal import Decoded
from xvectors.storage.journal import Journal, list_journals, read_journal
from xvectors.storage.provenance import ProvenanceDigest

NAMES = ["a", "b c", "ü{%s}"]


PROVENANCE = ProvenanceDigest(
    b"how-made", b"version.", 7, bytes(range(16)), Decoded(1.25, True, 0.5)
)


def vectors(dim: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(NAMES), dim)).astype(np.float32)


@pytest.fixture
def journal(tmp_path) -> Journal:
    journal = Journal(tmp_path, "0-of-2")
    for name, vector in zip(NAMES, vectors(), strict=True):
        journal.append(name, vector, PROVENANCE)
    journal.close()
    return journal


def test_a_journal_is_read_as_it_was_written(journal, tmp_path):
    rows = dict(read_journal(journal.path))
    assert list(rows) == NAMES
    assert [row.provenance for row in rows.values()] == [PROVENANCE] * 3
    assert np.stack([row.read() for row in rows.values()]).tobytes() == vectors().tobytes()
    (tmp_path / ".0-of-2.rubbish.journal").touch()
    assert list_journals(tmp_path) == {journal.path: "0-of-2"}


def test_a_cut_off_journal_is_read_as_far_as_it_is_whole(journal):
    whole = journal.path.read_bytes()
    sizes = set()
    for n_bytes in range(len(whole)):
        journal.path.write_bytes(whole[:n_bytes])
        rows = dict(read_journal(journal.path))
        sizes.add(len(rows))
        assert list(rows) == NAMES[: len(rows)]
    assert sizes == {0, 1, 2}


def test_no_flipped_bit_in_a_journal_makes_another_row(journal):
    whole = journal.path.read_bytes()
    wanted = dict(zip(NAMES, vectors(), strict=True))
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        journal.path.write_bytes(flipped)
        rows = dict(read_journal(journal.path))
        assert len(rows) < len(NAMES)
        for name, row in rows.items():
            assert (row.read().tobytes(), row.provenance) == (wanted[name].tobytes(), PROVENANCE)
