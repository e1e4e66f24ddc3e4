import pytest

from xvectors.sharding.shard_progress import ShardProgress, read_progress, write_progress

PROGRESS = ShardProgress("this run", n_done=3, n_embedded=2, n_failed=1, part=0.25, seconds=12.5)


def test_progress_is_replaced_whole(tmp_path):
    path = tmp_path / "train" / "0-of-1.json"
    for _ in range(2):
        write_progress(path, PROGRESS)
        assert read_progress(path) == PROGRESS
    assert [one.name for one in path.parent.iterdir()] == ["0-of-1.json"]


@pytest.mark.parametrize("content", [None, "", "[1]", '{"run": "this run"}'])
def test_there_is_none_before_a_job_begins_or_in_a_damaged_file(tmp_path, content):
    path = tmp_path / "0-of-1.json"
    if content is not None:
        path.write_text(content)
    assert read_progress(path) is None


def test_a_folder_that_cannot_be_written_costs_the_progress_alone(tmp_path):
    (tmp_path / "train").touch()
    write_progress(tmp_path / "train" / "0-of-1.json", PROGRESS)
    assert (tmp_path / "train").is_file()
