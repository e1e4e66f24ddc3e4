"""Schedulers other than Slurm, by a submit command of one's own."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# As a cluster does: the job starts in an environment of its own, in the folder of the submission.
QSUB = """#!/bin/sh
for script; do :; done
env >> {environment}
nohup env -i HOME=/nonexistent PATH=/usr/bin:/bin sh "$script" > /dev/null 2>&1 &
echo $!
"""


@pytest.fixture
def qsub(tmp_path: Path) -> Path:
    path = tmp_path / "qsub"
    path.write_text(QSUB.format(environment=tmp_path / "submitted"))
    path.chmod(0o755)
    return path


def test_jobs_that_start_in_an_empty_environment(checkout, qsub, reference, monkeypatch):
    monkeypatch.setenv("MARK_OF_THE_SUBMISSION", "here")
    cluster = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(qsub))
    checkout.run_well(*cluster, "--jobs", "2")
    submitted = (checkout.root / "submitted").read_text()
    assert submitted.count("MARK_OF_THE_SUBMISSION=here") == 2
    vectors = checkout.vectors()
    assert len(vectors) == 8
    for utt_id in ("alba_00", "hugo_04"):
        reference.assert_same(vectors[utt_id], checkout.audio(utt_id))
    assert "Nothing to be done" in checkout.run_well()
