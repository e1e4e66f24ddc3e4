"""Runs that make their manifests of corpora first."""

import pytest

from tests.support.checkout import changed, jobs_in
from tests.support.corpora import MAKERS, copy, make_folder

pytestmark = pytest.mark.integration


# One of files, one with segments and commands, one of containers; tests/unit/corpora has them all.
KINDS = ("libritts", "kaldi", "webdataset")


def test_one_command_from_corpora_to_tables(quick):
    corpora = {kind: MAKERS[kind](quick.root / "corpora" / kind) for kind in KINDS}
    del quick.xvector["manifest_paths"]
    quick.xvector["splits"] = list(corpora)
    quick.xvector["corpora"] = {kind: corpus.options for kind, corpus in corpora.items()}
    quick.xvector["n_shards"] = 1
    asked = jobs_in(quick.run_well("-n"))
    assert sum(job[0] == "embed_shard" for job in asked) == 3
    assert quick.jobs_of_run() == asked
    for kind, corpus in corpora.items():
        table = quick.rows(f"{kind}.tsv")[1:]
        assert [row[0] for row in table] == [want.utt_id for want in corpus.utterances]
        assert [row[1] for row in table] == [want.speaker_id for want in corpus.utterances]
    assert "Nothing to be done" in quick.run_well()


@pytest.fixture
def from_folder(quick):
    """A checkout with a corpus for its split, that is a folder; nothing is made of it yet."""
    quick.xvector["corpora"] = {"train": make_folder(quick.root).options}
    quick.xvector["manifest_paths"] = {"train": "made/train.tsv"}
    return quick


def test_a_manifest_follows_its_corpus_settings_and_is_made_again_when_deleted(from_folder):
    manifest = from_folder.root / "made" / "train.tsv"
    from_folder.run_well()
    before = from_folder.times()
    assert set(before) == {"alba-monday-01", "clara-01"}

    from_folder.xvector["corpora"]["train"]["pattern"] = "{speaker}/*.*"
    from_folder.run_well()
    assert [row[0] for row in from_folder.rows("train.tsv")] == ["utt_id", "clara-01"]

    text = manifest.read_text()
    from_folder.xvector["corpora"]["train"]["pattern"] = "{speaker}/nothing/*.*"
    from_folder.run_badly()
    assert manifest.read_text() == text

    from_folder.xvector["corpora"]["train"]["pattern"] = "{speaker}/**/*.*"
    copy("hugo_00", from_folder.root / "mine" / "hugo" / "02.wav")
    from_folder.run_well()
    assert changed(before, from_folder.times()) == {"hugo-02"}

    before = from_folder.times()
    copy("hugo_01", from_folder.root / "mine" / "hugo" / "03.wav")
    # Snakemake cannot see inside a folder.
    printed = from_folder.run_well()
    assert "Nothing to be done" in printed
    assert "mine/hugo has changed since made/train.tsv was made" in printed
    assert "add --forcerun make_manifest_train to the command" in printed
    from_folder.run_well("--forcerun", "make_manifest_train")
    assert changed(before, from_folder.times()) == {"hugo-03"}
    assert "has changed since" not in from_folder.run_well()

    before = from_folder.times()
    copy("hugo_00", from_folder.root / "mine" / "hugo" / "04.wav")
    manifest.unlink()
    from_folder.run_well()
    assert changed(before, from_folder.times()) == {"hugo-04"}


def test_a_corpus_that_breaks_the_rules_ends_the_run_with_its_places(from_folder):
    copy("alba_00", from_folder.root / "mine" / "alba" / "monday-01.flac")
    result = from_folder.run()
    assert result.returncode != 0
    assert "error: " in result.stdout
    assert "mine/alba/monday-01.flac: repeated utt_id 'alba-monday-01', first at" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (from_folder.root / "made" / "train.tsv").exists()


def test_a_manifest_of_ones_own_is_never_written_over(checkout):
    checkout.xvector["corpora"] = {"train": {"kind": "espnet3", "path": "corpus/train.tsv"}}
    before = checkout.manifest.read_bytes()
    (error,) = checkout.run_badly("--forcerun", "make_manifest_train")
    assert "my.yaml: xvector.corpora.train.path: corpus/train.tsv is the manifest" in error
    assert checkout.manifest.read_bytes() == before
    assert not (checkout.root / "out").exists()
