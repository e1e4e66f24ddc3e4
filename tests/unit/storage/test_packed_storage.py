import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from xvectors.audio.versions import AudioVersion
from xvectors.errors import ShardError
from xvectors.storage import journal, packs
from xvectors.storage.packed_storage import PackedStorage
from xvectors.storage.provenance import Provenance, Standing

NAMES = [f"utt{i}" for i in range(6)]
ABOUT = {"provenance": "{}"}


def provenance(name: str, version: int = 1, by: str = "me") -> Provenance:
    content = f"{NAMES.index(name) + 1:032x}"
    return Provenance({"by": by}, f"{name}.wav", None, AudioVersion(9, version), content)


def is_current(storage: PackedStorage, name: str, wanted: Provenance) -> bool:
    return storage.find(name, wanted).standing is Standing.CURRENT


def vector(name: str) -> torch.Tensor:
    return torch.full((4,), float(NAMES.index(name)) + 1)


def fill(storage: PackedStorage, names: list[str]) -> None:
    for name in names:
        storage.save(name, vector(name), provenance(name))
    storage.close()


@pytest.fixture
def done(tmp_path) -> PackedStorage:
    storage = PackedStorage(tmp_path, "0-of-1", NAMES)
    fill(storage, NAMES)
    storage.finish(NAMES, ABOUT)
    return storage


def again(storage: PackedStorage, shard: str = "0-of-1") -> PackedStorage:
    """Return the storage as the next job finds it."""
    return PackedStorage(storage.folder, shard, NAMES)


def current(storage: PackedStorage) -> list[str]:
    found = [name for name in NAMES if is_current(storage, name, provenance(name))]
    for name in found:
        storage.choose(name, provenance(name))
    return found


def test_what_a_killed_job_has_embedded_is_there_for_the_next(tmp_path):
    killed = PackedStorage(tmp_path, "0-of-1", NAMES)
    fill(killed, NAMES[:3])
    assert not killed.pack.exists()
    following = again(killed)
    assert current(following) == NAMES[:3]
    fill(following, NAMES[3:])
    following.finish(NAMES, ABOUT)
    assert list(tmp_path.iterdir()) == [following.pack]
    assert {name: found.tolist() for name, found in load_file(following.pack).items()} == {
        name: vector(name).tolist() for name in NAMES
    }


def test_a_finished_pack_is_current_and_not_written_again(done):
    before = done.pack.stat()
    following = again(done)
    assert current(following) == NAMES
    following.finish(NAMES, ABOUT)
    assert done.pack.stat() == before
    assert following.version(NAMES) == done.version(NAMES)
    for name in NAMES:
        following.check(name)


def test_rows_that_forked_processes_have_saved(done):
    storage = again(done)
    version = provenance("utt0", version=2)
    assert not is_current(storage, "utt0", version)
    for name in ("utt1", "utt2"):
        storage.discard(name)
    for name in ("utt0", "utt1"):
        forked = again(done)
        forked.save(name, vector(name) + 10, version)
        forked.close()
    storage.reload()
    assert is_current(storage, "utt0", version)
    storage.finish(NAMES, ABOUT)
    found = {name: one[0] for name, one in load_file(done.pack).items()}
    assert found == {"utt0": 11, "utt1": 12, "utt3": 4, "utt4": 5, "utt5": 6}


def test_a_row_is_compared_with_its_audio_and_its_maker(done):
    following = again(done)
    assert following.find("utt0", provenance("utt0")).standing is Standing.CURRENT
    assert following.find("utt0", provenance("utt0", by="you")).standing is Standing.STALE
    assert following.find("utt0", Provenance({"by": "me"}, "utt0.wav")).standing is Standing.GONE
    for moved in (provenance("utt0", version=2), provenance("utt1")):
        found = following.find("utt0", moved)
        assert (found.standing, found.contents) == (Standing.MOVED, {bytes(15) + b"\1"})


def test_asking_changes_nothing(done):
    following = again(done)
    for wanted in (provenance("utt0", version=2), provenance("utt0", by="you"), provenance("utt0")):
        following.find("utt0", wanted)
    following.finish(NAMES, ABOUT)
    assert set(load_file(done.pack)) == set(NAMES)


def test_a_discarded_row_leaves_the_pack(done):
    following = again(done)
    following.discard("utt0")
    following.finish(NAMES, ABOUT)
    assert set(load_file(done.pack)) == set(NAMES[1:])


def test_a_row_of_moved_audio_gets_a_new_provenance_in_the_next_pack(done):
    following = again(done)
    following.update_provenance("utt1", provenance("utt1", version=2))
    following.finish(NAMES, ABOUT)
    moved = again(done)
    assert is_current(moved, "utt1", provenance("utt1", version=2))
    assert not is_current(moved, "utt1", provenance("utt1"))
    assert is_current(moved, "utt2", provenance("utt2"))
    assert np.allclose(packs.Pack(done.pack)["utt1"], vector("utt1"))


def test_utterances_that_left_the_shard_leave_the_pack(done):
    following = again(done)
    following.finish(NAMES[1:3], ABOUT)
    assert list(load_file(done.pack)) == NAMES[1:3]


def test_another_number_of_shards_takes_over_what_is_there(done):
    fill(again(done), ["utt5"])  # a journal that is left over
    two = [again(done, "0-of-2"), again(done, "1-of-2")]
    assert current(two[0]) == current(two[1]) == NAMES
    two[0].finish(NAMES[:3], ABOUT)
    two[1].finish(NAMES[3:], ABOUT)
    assert list(load_file(two[0].pack)) == NAMES[:3]
    assert list(load_file(two[1].pack)) == NAMES[3:]


def test_a_damaged_row_counts_as_none(done):
    content = bytearray(done.pack.read_bytes())
    content[-1] ^= 1  # in the last row
    done.pack.write_bytes(content)
    following = again(done)
    assert current(following) == NAMES[:5]
    with pytest.raises(ShardError, match="is damaged"):
        following.check("utt5")
    following.save("utt5", vector("utt5"), provenance("utt5"))
    following.finish(NAMES, ABOUT)
    assert np.allclose(packs.Pack(done.pack)["utt5"], vector("utt5"))


def test_a_vector_that_is_not_finite_is_not_sound(tmp_path):
    storage = PackedStorage(tmp_path, "0-of-1", NAMES)
    storage.save("utt0", torch.tensor([1.0, float("nan")]), provenance("utt0"))
    with pytest.raises(ShardError, match="not a pack"):
        storage.check("utt0")
    storage.finish(["utt0"], ABOUT)
    with pytest.raises(ValueError, match="NaN"):
        again(storage).check("utt0")


def test_a_missing_pack_has_no_version(tmp_path):
    assert PackedStorage(tmp_path, "0-of-1", NAMES).version([]) is None


def test_a_journal_from_before_a_change_hides_no_later_one(tmp_path):
    for version in (1, 2) * 8:  # in whatever order their names come
        storage = PackedStorage(tmp_path, "0-of-1", NAMES)
        storage.save("utt0", vector("utt0"), provenance("utt0", version))
        storage.close()
    following = PackedStorage(tmp_path, "0-of-1", NAMES)
    wanted = provenance("utt0", version=2)
    assert is_current(following, "utt0", wanted)
    following.choose("utt0", wanted)
    following.finish(["utt0"], ABOUT)
    assert dict(packs.read_pack(following.pack))["utt0"].provenance == wanted.digest()


def test_what_other_shards_of_the_same_number_hold_is_not_read(tmp_path):
    other = PackedStorage(tmp_path, "1-of-2", NAMES)
    fill(other, NAMES)
    other.finish(NAMES, ABOUT)
    assert current(again(other, "0-of-2")) == []


def test_a_journal_that_another_job_has_packed_meanwhile_is_passed_over(tmp_path, monkeypatch):
    killed = PackedStorage(tmp_path, "0-of-1", NAMES)
    fill(killed, NAMES)
    found = journal.list_journals(tmp_path)
    again(killed).finish(NAMES, ABOUT)
    monkeypatch.setattr(journal, "list_journals", lambda folder: found)
    following = again(killed)
    assert current(following) == NAMES
    following.finish(NAMES, ABOUT)


def test_a_leftover_journal_does_not_overrule_the_pack(done):
    leftover = again(done)
    leftover.save("utt0", torch.full((4,), float("nan")), provenance("utt0"))
    leftover.close()
    # It would not be sound.
    again(done).check("utt0")


def test_an_empty_pack_tells_of_the_present_encoder(tmp_path):
    PackedStorage(tmp_path, "0-of-1").finish([], {"provenance": "one"})
    PackedStorage(tmp_path, "0-of-1").finish([], {"provenance": "two"})
    assert packs.describe(tmp_path / "0-of-1.safetensors") == (b"two", [])
