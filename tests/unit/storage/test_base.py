import os

from xvectors.storage.base import hash_versions


def test_the_hash_of_outputs_tells_sizes_and_times(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"abc")
    before = hash_versions(paths)
    assert before == hash_versions(paths)
    status = paths[0].stat()
    os.utime(paths[0], ns=(0, status.st_mtime_ns - 1))
    assert hash_versions(paths) != before
    paths[0].write_bytes(b"ab")
    os.utime(paths[0], ns=(0, status.st_mtime_ns))
    assert hash_versions(paths) != before
    paths[0].unlink()
    assert hash_versions(paths) is None
