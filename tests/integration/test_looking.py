"""Commands that only look: they change nothing, and a dry run names the jobs of the run."""

import fcntl
import hashlib
import os
import re
import shutil

import pytest

from tests.support.checkout import changed, jobs_in

pytestmark = pytest.mark.integration

OTHER_SETTINGS = ("--config", "xvector={precision: tf32}")
QUESTIONS = [
    ("-n",),
    ("--lint",),
    ("--list-rules",),
    ("--list-target-rules",),
    ("--summary",),
    ("--dag",),
    ("--rulegraph",),
    ("--unlock",),
    ("--list-changes", "params"),
    ("--report", "report.html"),
    ("--archive", "archive.tar.gz"),
    ("--containerize",),
]


def everything(*folders):
    """Return time, size and content of every path in folders."""
    found = {}
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            status = path.stat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            found[path] = (status.st_mtime_ns, status.st_size, content)
    return found


def test_questions_with_other_settings_change_nothing_and_take_no_lock(quick_done):
    before = everything(quick_done.root / "out", quick_done.corpus)
    # As held by a run.
    with (quick_done.out / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for question in QUESTIONS:
            result = quick_done.run(*question, *OTHER_SETTINGS)
            assert everything(quick_done.root / "out", quick_done.corpus) == before, question
            assert "another run" not in result.stdout
            assert "Traceback" not in result.stdout, result.stdout


def test_records_that_may_not_be_read_are_named_in_a_line(quick_done):
    # Root without these asks for permission like everybody.
    setpriv = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    records = quick_done.out / ".shards"
    records.chmod(0)
    try:
        result = quick_done.run_plain(
            *(setpriv if os.geteuid() == 0 else []), *quick_done.command("-n")
        )
    finally:
        records.chmod(0o755)
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert "\nerror: out/tag/.shards/train.json: Permission denied. Fix this" in result.stdout


def change_nothing(done):
    pass


def change_precision(done):
    done.xvector["precision"] = "tf32"


def replace_a_recording(done):
    shutil.copy(done.audio("hugo_04"), done.audio("boris_01"))


def add_a_line(done):
    done.add_utterance("late", "alba_03")


def lose_an_embedding(done):
    (done.embeddings / "alba_00.pt").unlink()


def lose_the_metadata_and_a_marker(done):
    shutil.rmtree(done.root / ".snakemake")
    (done.out / ".shards" / "train" / "1-of-2.done").write_text("{")


def change_the_number_of_shards(done):
    done.xvector["n_shards"] = 3


@pytest.mark.parametrize(
    ("change", "n_embed_jobs"),
    [
        (change_nothing, 0),
        (change_precision, 2),
        (replace_a_recording, 1),
        (add_a_line, 1),
        (lose_an_embedding, 1),
        (lose_the_metadata_and_a_marker, 1),
        (change_the_number_of_shards, 3),
    ],
)
def test_a_dry_run_names_the_jobs_of_the_run(quick_done, change, n_embed_jobs):
    change(quick_done)
    asked = jobs_in(quick_done.run_well("-n"))
    assert sum(job[0] == "embed_shard" for job in asked) == n_embed_jobs
    assert quick_done.jobs_of_run() == asked
    assert "Nothing to be done" in quick_done.run_well()


def test_what_is_touched_or_has_lost_its_metadata_is_not_embedded_again(quick_done):
    before = quick_done.times()
    quick_done.run_well("--touch")
    assert "Nothing to be done" in quick_done.run_well()
    quick_done.run_well("--cleanup-metadata", "out/tag/.shards/train/0-of-2.done")
    quick_done.run_well()
    assert quick_done.times() == before


@pytest.mark.parametrize("n_shards", [2, "auto"])
def test_a_fresh_graph_shows_every_rule_and_job(checkout, n_shards):
    checkout.xvector["n_shards"] = n_shards
    graph = checkout.run_well("--rulegraph")
    for rule in ("fetch_encoder", "split_manifest", "embed_shard", "collect_split"):
        assert f'"{rule}"' in graph
    asked = jobs_in(checkout.run_well("-n"))
    assert sum(job[0] == "embed_shard" for job in asked) == (2 if n_shards == 2 else 1)
    assert not (checkout.root / "out").exists()


def edges(printed):
    """Return the pairs of rules that a graph joins."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", printed))
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", printed)}


def test_a_finished_graph_is_the_fresh_one(done):
    finished = edges(done.run_well("--rulegraph", "mermaid-js"))
    assert ("embed_shard", "collect_split") in finished
    shutil.rmtree(done.root / "out")
    assert edges(done.run_well("--rulegraph", "mermaid-js")) == finished


def test_a_corpus_that_grows_past_a_threshold_embeds_only_what_is_new(quick):
    quick.xvector["n_shards"] = "auto"
    lines = quick.manifest.read_text().splitlines(keepends=True)
    quick.manifest.write_text("".join(f"{line.rstrip()}\tseconds=70\n" for line in lines))
    quick.run_well()
    assert {path.name for path in (quick.out / ".shards" / "train").glob("*.done")} == {
        "0-of-1.done"
    }
    before = quick.times()
    with quick.manifest.open("a") as file:
        file.write(f"late\t{quick.audio('alba_00').name}\twords\talba\tseconds=90\n")
    asked = jobs_in(quick.run_well("-n"))
    assert quick.jobs_of_run() == asked
    assert changed(before, quick.times()) == {"late"}
    assert len(list((quick.out / ".shards" / "train").glob("*-of-2.done"))) == 2


def test_many_recordings_of_unknown_length_are_counted_by_the_run(quick):
    quick.xvector["n_shards"] = "auto"
    lines = [f"copy{i}\tnone.wav\twords\ts\n" for i in range(2001)]
    quick.manifest.write_text(quick.manifest.read_text() + "".join(lines))
    quick.xvector["on_error"] = "skip"
    assert {job[0] for job in jobs_in(quick.run_well("-n"))} == {
        "fetch_encoder",
        "split_manifest",
        "count_shards",
        "collect_split",
        "everything",
    }
    quick.run_well()
    # 5 seconds are assumed for each.
    assert len(list((quick.out / ".shards" / "train").glob("*-of-5.done"))) == 5
    assert len(quick.vectors()) == 8
    assert "Nothing to be done" in quick.run_well()
