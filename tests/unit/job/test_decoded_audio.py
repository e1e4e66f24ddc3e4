"""Facts that only decoding tells: durations and silence, from the signal to tables and summary."""

from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import torch

from tests.support.shards import Shards
from xvectors.config.resolving import resolve_config
from xvectors.results.collecting import collect_split
from xvectors.results.tables import read_embedded
from xvectors.run.summary import summarize
from xvectors.storage import packs

RATE = 16000
# Of each utterance: the decoded duration.
SECONDS = {"mp3": 5.0, "stated": 4.0, "antiphase": 2.0, "zeros": 3.0, "plain": 1.5}


@pytest.fixture
def shards(tmp_path, demo_encoder, request) -> Iterator[Shards]:
    """One shard: a lying MP3, a lying manifest, two silent files, and a plain one."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    noise = {
        name: np.random.default_rng(number).normal(0, 0.1, round(seconds * RATE))
        for number, (name, seconds) in enumerate(SECONDS.items())
    }
    left = noise["antiphase"]
    signals = noise | {"antiphase": np.stack([left, -left], 1), "zeros": noise["zeros"] * 0}
    for name, signal in signals.items():
        soundfile.write(corpus / f"{name}.{'mp3' if name == 'mp3' else 'wav'}", signal, RATE)
    _say_other_length(corpus / "mp3.mp3", 40)
    lines = [
        "mp3\tmp3.mp3\t\ta\n",
        "stated\tstated.wav\t\ta\tseconds=9\n",
        *(f"{name}\t{name}.wav\t\tb\n" for name in ("antiphase", "zeros", "plain")),
    ]
    (corpus / "train.tsv").write_text("".join(lines))
    return Shards(corpus, demo_encoder, storage=request.param)


def _say_other_length(path, n_frames: int) -> None:
    """Make an MP3's header state another number of frames."""
    content = bytearray(path.read_bytes())
    place = max(content.find(b"Xing"), content.find(b"Info"))
    assert place > 0
    content[place + 8 : place + 12] = n_frames.to_bytes(4, "big")
    path.write_bytes(content)


def listed(shards: Shards) -> dict[str, float]:
    collect_split(resolve_config({"xvector": shards.settings}), "train", ["0-of-1"])
    return {row.utt_id: row.seconds for row in read_embedded(shards.layout.table("train"))}


@pytest.mark.parametrize("shards", ["files", "packed"], indirect=True)
def test_decoded_durations_and_silence_are_told_and_kept(shards, caplog):
    caplog.set_level("INFO")
    (first,) = shards.embed_all()
    assert first["n_written"] == 5
    assert first["n_silent"] == 2
    assert first["n_misstated"] == 2
    assert first["audio_seconds"] == pytest.approx(sum(SECONDS.values()), abs=0.1)
    assert first["seconds"].keys() >= {"mp3", "stated"}
    assert listed(shards) == pytest.approx(SECONDS, abs=0.1)
    assert listed(shards)["stated"] == 4
    assert "0 failed" in caplog.text
    assert ", 2 silent" in caplog.text
    assert "manifest or header state a wrong duration for 2 of 5 utterances. The" in caplog.text
    settings = resolve_config({"xvector": shards.settings})
    line, _ = summarize(settings, first["run"], 1)
    assert line.endswith("hours of audio embedded, 2 silent")

    # A later run has no marker, as after a kill, and finds everything embedded.
    table = listed(shards)
    shards.layout.marker("train", "0-of-1").unlink()
    (again,) = shards.embed_all()
    assert again["n_misstated"] == 2
    assert (again["n_written"], again["n_skipped"], again["n_silent"]) == (0, 5, 2)
    assert again["seconds"] == first["seconds"]
    assert listed(shards) == table

    # Audio that only moves keeps its numbers, too.
    for path in shards.manifest.parent.glob("*.*"):
        path.touch()
    (moved,) = shards.embed_all()
    assert (moved["n_written"], moved["n_silent"]) == (0, 2)
    assert listed(shards) == table


@pytest.mark.parametrize("shards", ["files", "packed"], indirect=True)
def test_silent_signals_get_the_vector_that_the_toolkit_gives(shards, reference):
    shards.embed_all()
    for name in ("antiphase", "zeros"):
        if shards.settings["storage"] == "packed":
            pack = shards.layout.embeddings("train") / "0-of-1.safetensors"
            found = torch.from_numpy(packs.Pack(pack)[name].copy())
        else:
            found = shards.vectors()[name]
        reference.assert_same(found, shards.manifest.parent / f"{name}.wav")


@pytest.mark.parametrize("shards", ["files"], indirect=True)
def test_a_manifest_that_states_another_duration_later_changes_no_table(shards):
    shards.embed_all()
    table = listed(shards)
    shards.manifest.write_text(shards.manifest.read_text().replace("seconds=9", "seconds=4"))
    (right,) = shards.embed_all()
    assert "stated" not in right["seconds"]
    assert right["n_misstated"] == 1
    assert listed(shards) == table
