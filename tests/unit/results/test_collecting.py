import time

import pytest
import torch

from tests.support.shards import Shards
from xvectors.config.resolving import resolve_config
from xvectors.errors import ShardError
from xvectors.manifest.reading import read_manifest
from xvectors.results import collecting
from xvectors.results.collecting import collect_split
from xvectors.results.tables import read_embedded, read_excluded, read_failures
from xvectors.storage.pt_file import save_embedding


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, demo_encoder) -> Shards:
    """A split of three shards whose jobs have run; tests restore what they change."""
    corpus = tmp_path_factory.mktemp("collected") / "corpus"
    corpus.mkdir()
    lines = []
    for name in ("alba_00", "boris_01", "clara_02", "edith_02"):
        (audio,) = (demo_encoder.parent / "wav").glob(f"*/{name}.*")
        (corpus / audio.name).write_bytes(audio.read_bytes())
        lines.append(f"{name}\t{audio.name}\t\t{name.split('_')[0]}\n")
    lines.insert(2, "broken\tbroken.wav\t\tnobody\n")
    (corpus / "broken.wav").write_bytes(b"rubbish")
    (corpus / "train.tsv").write_text("".join(lines))
    shards = Shards(corpus, demo_encoder, n_shards=3, on_error="skip")
    shards.embed_all()
    return shards


@pytest.fixture
def shards(embedded) -> Shards:
    for shard in embedded.prepare():
        embedded.embed(shard)
    return embedded


def collect(shards: Shards) -> None:
    names = [f"{k}-of-3" for k in range(3)]
    collect_split(resolve_config({"xvector": shards.settings}), "train", names)


def path_of(shards: Shards, utt_id: str):
    return shards.layout.embeddings("train") / f"{utt_id}.pt"


def test_tables_are_in_the_order_of_the_manifest(shards):
    collect(shards)
    rows = list(read_embedded(shards.layout.table("train")))
    utt_ids = [one.utt_id for one in read_manifest(shards.manifest).utterances]
    assert [row.utt_id for row in rows] == [name for name in utt_ids if name != "broken"]
    assert [row.speaker_id for row in rows] == ["alba", "boris", "clara", "edith"]
    assert all(1 < row.seconds < 5 for row in rows)
    (failure,) = read_failures(shards.layout.failures("train"))
    assert (failure.utt_id, failure.wav_path) == ("broken", "broken.wav")
    assert "not audio" in failure.reason


def test_a_file_that_is_seen_late_is_waited_for(shards, monkeypatch):
    path = path_of(shards, "clara_02")
    hidden = path.rename(path.with_name("hidden"))
    waits = []

    def reappear(seconds):
        waits.append(seconds)
        if hidden.exists():
            hidden.rename(path)

    monkeypatch.setattr(time, "sleep", reappear)
    collect(shards)
    assert len(waits) == 1
    assert len(list(read_embedded(shards.layout.table("train")))) == 4


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_what_is_lost_or_damaged_is_named_and_made_anew(shards, monkeypatch, damage):
    monkeypatch.setattr(collecting, "LATE_SECONDS", 0)
    path = path_of(shards, "clara_02")
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ShardError) as error:
        collect(shards)
    named, what_to_do = str(error.value).splitlines()
    assert named.startswith(f"train: clara_02: {path}: ")
    assert what_to_do == "train: rerun the same command to make these embeddings again"
    assert not path.exists()
    markers = [shards.layout.marker("train", f"{k}-of-3").exists() for k in range(3)]
    assert sorted(markers) == [False, True, True]


def test_strays_of_another_encoder_go_and_those_of_this_one_stay(shards):
    ours = path_of(shards, "ours")
    ours.write_bytes(path_of(shards, "clara_02").read_bytes())
    theirs = path_of(shards, "theirs")
    save_embedding(torch.ones(3), theirs, b'{"encoder":"another"}')
    unknown = path_of(shards, "unknown")
    torch.save(torch.ones(3), unknown)
    collect(shards)
    assert [path.exists() for path in (ours, theirs, unknown)] == [True, False, True]
    for path in (ours, unknown):
        path.unlink()


def test_a_manifest_that_has_changed_meanwhile_is_refused(shards):
    text = shards.manifest.read_text()
    shards.manifest.write_text(text.replace("alba_00\t", "alba_99\t"))
    try:
        with pytest.raises(ShardError, match="changed during the run"):
            collect(shards)
    finally:
        shards.manifest.write_text(text)


def test_excluded_utterances_have_a_table_of_their_own(shards):
    collect(shards)
    seconds = {row.utt_id: row.seconds for row in read_embedded(shards.layout.table("train"))}
    assert not shards.layout.excluded("train").exists()
    shortest = min(seconds, key=seconds.get)
    shards.settings["min_seconds"] = sorted(seconds.values())[1]
    before = shards.times()
    assert sum(account["n_written"] for account in shards.embed_all()) == 0
    collect(shards)
    (row,) = read_excluded(shards.layout.excluded("train"))
    (audio,) = shards.manifest.parent.glob(f"{shortest}.*")
    assert row == (shortest, audio.name, seconds[shortest])
    listed = [row.utt_id for row in read_embedded(shards.layout.table("train"))]
    assert listed == [utt_id for utt_id in seconds if utt_id != shortest]
    assert [row.utt_id for row in read_failures(shards.layout.failures("train"))] == ["broken"]

    del shards.settings["min_seconds"]
    shards.embed_all()
    collect(shards)
    assert not shards.layout.excluded("train").exists()
    assert len(list(read_embedded(shards.layout.table("train")))) == len(seconds)
    assert shards.times() == before


def test_an_utterance_whose_stated_duration_hid_that_it_is_too_short(shards):
    before = shards.manifest.read_text()
    lines = [f"{line}\tseconds=30\n" for line in before.splitlines()]
    shards.manifest.write_text("".join(lines))
    shards.settings["min_seconds"] = 20
    try:
        shards.embed_all()
        collect(shards)
        assert len(list(read_excluded(shards.layout.excluded("train")))) == 4
        assert list(read_embedded(shards.layout.table("train"))) == []
        assert len(list(read_failures(shards.layout.failures("train")))) == 1
    finally:
        del shards.settings["min_seconds"]
        shards.manifest.write_text(before)
