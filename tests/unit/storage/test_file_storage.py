import numpy as np
import pytest
import torch

from xvectors.storage.file_storage import FileStorage
from xvectors.storage.pt_file import read_provenance

MINE = b'{"by":"me","mtime_ns":1,"size":2}'
NEWER_AUDIO = b'{"by":"me","mtime_ns":3,"size":2}'
OTHERS = b'{"by":"you","mtime_ns":1,"size":2}'


@pytest.fixture
def storage(tmp_path) -> FileStorage:
    return FileStorage(
        tmp_path, lambda folder, utt_id: folder / utt_id[0] / f"{utt_id}.pt", torch.load
    )


@pytest.fixture
def of_arrays(tmp_path) -> FileStorage:
    return FileStorage(tmp_path, lambda folder, utt_id: folder / f"{utt_id}.npy", np.load)


def test_an_embedding_lies_where_the_runner_says_and_knows_what_made_it(storage):
    storage.save("abc", torch.ones(3), MINE)
    assert storage.path("abc") == storage.folder / "a" / "abc.pt"
    assert torch.equal(torch.load(storage.path("abc")), torch.ones(3))
    assert storage.is_current("abc", MINE)
    assert not storage.is_current("abc", OTHERS)
    assert not storage.is_current("abd", MINE)
    storage.check("abc")
    storage.discard("abc")
    assert not storage.path("abc").exists()


def test_a_stale_file_goes_unless_only_its_audio_is_gone(storage):
    for provenance, is_audio_gone, stays in [
        (MINE, False, True),
        (NEWER_AUDIO, False, False),
        (NEWER_AUDIO, True, True),
        (OTHERS, True, False),
    ]:
        storage.save("abc", torch.ones(3), MINE)
        storage.discard_stale("abc", provenance, is_audio_gone)
        assert storage.path("abc").exists() == stays


def test_a_damaged_file_of_another_kind_is_not_current(of_arrays):
    path = of_arrays.path("abc")
    np.save(path, np.ones(3))
    assert of_arrays.accept("abc", MINE) is None
    assert read_provenance(path) == MINE
    assert of_arrays.is_current("abc", MINE)
    path.write_bytes(b"rubbish")
    assert not of_arrays.is_current("abc", MINE)


def test_what_a_runner_leaves_is_checked_and_stamped(storage):
    assert "the runner left no file" in str(storage.accept("abc", MINE))
    path = storage.path("abc")
    path.parent.mkdir()
    path.write_bytes(b"rubbish")
    problem = storage.accept("abc", MINE)
    assert problem is not None
    assert problem.startswith(f"{path}: ")
    torch.save(torch.ones(3), path)
    assert storage.accept("abc", MINE) is None
    assert storage.is_current("abc", MINE)
    # It has a provenance now, which stays.
    assert storage.accept("abc", OTHERS) is None
    assert read_provenance(path) == MINE


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
