import pytest

from tests.support.checkout import changed
from tests.support.shards import Shards
from xvectors.errors import ShardError


@pytest.fixture
def shards(corpus, demo_encoder) -> Shards:
    return Shards(corpus, demo_encoder)


def recording(corpus, utt_id):
    (path,) = corpus.glob(f"{utt_id}.*")
    return path


@pytest.mark.parametrize(("batch_size", "n_shards"), [(None, 5), (4, 1), (1, 2)])
def test_batches_and_shards_do_not_change_vectors(corpus, shards, reference, batch_size, n_shards):
    shards.settings.update(batch_size=batch_size, n_shards=n_shards)
    markers = shards.embed_all()
    assert sum(marker["n_written"] for marker in markers) == 6
    vectors = shards.vectors()
    assert len(vectors) == 6
    for utt_id, vector in vectors.items():
        reference.assert_same(vector, recording(corpus, utt_id))


def test_a_marker_accounts_for_the_job(corpus, shards):
    (marker,) = shards.embed_all()
    counts = ("n_utterances", "n_written", "n_skipped", "n_failed")
    assert [marker[name] for name in counts] == [6, 6, 0, 0]
    assert 12 < marker["audio_seconds"] < 24
    assert marker["wall_seconds"] > 0
    assert (marker["device"], marker["precision"]) == ("cpu", "fp32")
    assert marker["encoder"]
    (again,) = shards.embed_all()
    assert [again[name] for name in counts] == [6, 0, 6, 0]
    assert (again["audio_seconds"], again["encoder"]) == (0, marker["encoder"])


def test_nothing_is_loaded_where_nothing_is_missing(corpus, shards, monkeypatch):
    shards.embed_all()
    before = shards.times()
    text = shards.manifest.read_text()
    shards.manifest.write_text("".join(text.splitlines(keepends=True)[:2]))
    shards.settings.update(n_shards=3, batch_size=None, on_error="skip")
    monkeypatch.setattr("xvectors.encoders.encoder.load_encoder", None)
    markers = shards.embed_all()
    assert sorted(marker["n_utterances"] for marker in markers) == [0, 1, 1]
    assert [marker["startup_seconds"] for marker in markers] == [0, 0, 0]
    assert shards.times() == before


def test_with_fail_a_bad_recording_costs_itself_and_the_marker(corpus, shards):
    good = recording(corpus, "clara_02").read_bytes()
    recording(corpus, "clara_02").write_bytes(b"rubbish")
    (shard,) = shards.prepare()
    with pytest.raises(ShardError, match=r"train 0-of-1: 1 of 6 utterances failed \(clara_02\)"):
        shards.embed(shard)
    before = shards.times()
    assert len(before) == 5
    assert not shards.layout.marker("train", shard).exists()
    recording(corpus, "clara_02").write_bytes(good)
    assert shards.embed(shard)["n_written"] == 1
    assert changed(before, shards.times()) == {"clara_02"}


def test_with_skip_failures_are_in_the_marker(corpus, shards):
    shards.settings["on_error"] = "skip"
    recording(corpus, "clara_02").write_bytes(b"rubbish")
    recording(corpus, "hugo_04").unlink()
    (marker,) = shards.embed_all()
    assert (marker["n_written"], marker["n_failed"]) == (4, 2)
    assert [failure["utt_id"] for failure in marker["failures"]] == ["clara_02", "hugo_04"]


def test_a_shard_full_of_bad_recordings(corpus, shards):
    for line in shards.manifest.read_text().splitlines():
        (corpus / line.split("\t")[1]).write_bytes(b"")
    (shard,) = shards.prepare()
    with pytest.raises(ShardError, match="6 of 6 utterances failed"):
        shards.embed(shard)
    assert shards.times() == {}


def test_a_recording_that_goes_bad_loses_its_vector(corpus, shards):
    (shard,) = shards.prepare()
    shards.embed(shard)
    recording(corpus, "clara_02").write_bytes(b"rubbish")
    with pytest.raises(ShardError, match="clara_02"):
        shards.embed(shard)
    assert "clara_02" not in shards.times()


def test_an_encoder_whose_copy_is_damaged_is_not_used(corpus, shards):
    (shard,) = shards.prepare()
    copy = shards.layout.encoder.parent / "embedding_model.ckpt"
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(Exception, match="the encoder's copy is damaged"):
        shards.embed(shard)
    assert shards.times() == {}
