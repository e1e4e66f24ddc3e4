import numpy as np
import pytest
from safetensors.numpy import load_file

from xvectors.audio.signal import Decoded
from xvectors.errors import ShardError
from xvectors.storage import packs
from xvectors.storage.journal import Journal, read_journal
from xvectors.storage.packs import Pack, read_pack, write_pack
from xvectors.storage.provenance import ProvenanceDigest

NAMES = ["a", "b c", "ü{%s}"]


PROVENANCE = ProvenanceDigest(b"how-made", b"version.", 7, bytes(range(16)), Decoded(1.25, True))


def vectors(dim: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(NAMES), dim)).astype(np.float32)


@pytest.fixture
def journal(tmp_path) -> Journal:
    journal = Journal(tmp_path, "0-of-2")
    for name, vector in zip(NAMES, vectors(), strict=True):
        journal.append(name, vector, PROVENANCE)
    journal.close()
    return journal


@pytest.fixture
def pack(journal, tmp_path):
    path = tmp_path / "0-of-2.safetensors"
    write_pack(path, dict(read_journal(journal.path)), {"provenance": '{"by": "me"}'})
    return path


def test_the_library_reads_a_pack(pack):
    loaded = load_file(pack)
    assert set(loaded) == set(NAMES)
    for name, vector in zip(NAMES, vectors(), strict=True):
        assert loaded[name].tobytes() == vector.tobytes()
        assert Pack(pack)[name].tobytes() == vector.tobytes()
    assert packs.describe(pack) == (b'{"by": "me"}', NAMES)
    assert packs.list_packs(pack.parent) == {pack: "0-of-2"}


def test_no_flipped_bit_in_a_pack_makes_another_row(pack):
    whole = pack.read_bytes()
    wanted = dict(zip(NAMES, vectors(), strict=True))
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        pack.write_bytes(flipped)
        for name, row in read_pack(pack):
            if name in wanted and row.provenance == PROVENANCE:
                assert row.read().tobytes() == wanted[name].tobytes()


@pytest.mark.parametrize("n_bytes", [0, 7, 8, 40, -1])
def test_a_cut_off_pack_gives_no_wrong_row(pack, n_bytes):
    pack.write_bytes(pack.read_bytes()[:n_bytes])
    assert dict(read_pack(pack)).keys() <= set(NAMES[:2])


def test_what_is_not_in_a_pack_or_damaged_is_a_one_line_error(pack, tmp_path):
    with pytest.raises(ShardError, match="other is not in it"):
        Pack(pack)["other"]
    content = pack.read_bytes()
    pack.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ShardError, match="is damaged"):
        Pack(pack)[NAMES[-1]]
    with pytest.raises(ShardError, match="not a pack"):
        Pack(tmp_path / "none.safetensors")


def test_an_empty_pack(tmp_path):
    write_pack(tmp_path / "0-of-1.safetensors", {}, {"provenance": "{}"})
    assert load_file(tmp_path / "0-of-1.safetensors") == {}
    assert dict(read_pack(tmp_path / "0-of-1.safetensors")) == {}


def test_embeddings_of_two_lengths_do_not_go_together(tmp_path):
    journal = Journal(tmp_path, "0-of-1")
    journal.append("a", np.zeros(3, np.float32), PROVENANCE)
    journal.append("b", np.zeros(4, np.float32), PROVENANCE)
    journal.close()
    with pytest.raises(ShardError, match=r"embeddings of \[3, 4\] numbers"):
        write_pack(tmp_path / "0-of-1.safetensors", dict(read_journal(journal.path)), {})


def test_the_formats_own_name_is_refused():
    with pytest.raises(ShardError, match="__metadata__ is not a valid"):
        packs.check_names("train 0-of-2", ["a", "__metadata__"])


def test_more_names_than_a_header_holds_are_refused_with_the_number_of_shards():
    packs.check_names("train 0-of-2", ["name"] * 1000)
    with pytest.raises(ShardError, match=r"train 0-of-2: 2000000 .*n_shards at least 5 times"):
        packs.check_names("train 0-of-2", ["utterance-name-of-usual-length"] * 2_000_000)
