import numpy as np
import pytest
import torch

from xvectors.audio.versions import AudioVersion
from xvectors.storage.file_storage import FileStorage
from xvectors.storage.provenance import Provenance, Standing
from xvectors.storage.pt_file import read_provenance

MINE = Provenance({"by": "me"}, "a.wav", None, AudioVersion(9, 1), f"{1:032x}")
OTHERS = Provenance({"by": "you"}, "a.wav", None, AudioVersion(9, 1), f"{1:032x}")


@pytest.fixture
def storage(tmp_path) -> FileStorage:
    def output_path(folder, utt_id):
        return folder / utt_id[0] / f"{utt_id}.pt"

    return FileStorage(tmp_path, output_path, torch.load)


@pytest.fixture
def of_arrays(tmp_path) -> FileStorage:
    return FileStorage(tmp_path, lambda folder, utt_id: folder / f"{utt_id}.npy", np.load)


def standing(storage: FileStorage, utt_id: str, wanted: Provenance) -> Standing:
    return storage.find(utt_id, wanted).standing


def test_an_embedding_lies_where_the_runner_says_and_knows_what_made_it(storage):
    storage.save("abc", torch.ones(3), MINE)
    assert storage.path("abc") == storage.folder / "a" / "abc.pt"
    assert torch.equal(torch.load(storage.path("abc")), torch.ones(3))
    assert standing(storage, "abc", MINE) is Standing.CURRENT
    assert standing(storage, "abc", OTHERS) is Standing.STALE
    assert standing(storage, "abd", MINE) is Standing.MISSING
    storage.check("abc")
    storage.discard("abc")
    assert not storage.path("abc").exists()


def test_another_provenance_does_not_touch_the_vector(storage):
    storage.save("abc", torch.ones(3), MINE)
    storage.update_provenance("abc", OTHERS)
    assert standing(storage, "abc", OTHERS) is Standing.CURRENT
    assert torch.equal(torch.load(storage.path("abc")), torch.ones(3))


def test_a_damaged_file_of_another_kind_is_stale(of_arrays):
    path = of_arrays.path("abc")
    np.save(path, np.ones(3))
    assert of_arrays.verify_and_stamp("abc", MINE) is None
    assert standing(of_arrays, "abc", MINE) is Standing.CURRENT
    path.write_bytes(b"rubbish")
    assert standing(of_arrays, "abc", MINE) is Standing.STALE


def test_what_a_runner_leaves_is_checked_and_stamped(storage):
    assert "the runner left no file" in str(storage.verify_and_stamp("abc", MINE))
    path = storage.path("abc")
    path.parent.mkdir()
    path.write_bytes(b"rubbish")
    problem = storage.verify_and_stamp("abc", MINE)
    assert problem is not None
    assert problem.startswith(f"{path}: ")
    torch.save(torch.ones(3), path)
    assert storage.verify_and_stamp("abc", MINE) is None
    assert standing(storage, "abc", MINE) is Standing.CURRENT
    # It has a provenance now, which stays.
    assert storage.verify_and_stamp("abc", OTHERS) is None
    assert read_provenance(path) == MINE.encode()


def test_the_version_is_of_all_files(storage):
    for utt_id in ("a", "b"):
        storage.save(utt_id, torch.ones(3), MINE)
    version = storage.version(["a", "b"])
    assert version is not None
    assert storage.version(["a", "b"]) == version
    assert storage.version(["a"]) != version
    storage.save("b", torch.ones(30), MINE)
    assert storage.version(["a", "b"]) != version
    storage.discard("a")
    assert storage.version(["a", "b"]) is None
