"""Speech alone, from the command line to the tables."""

import numpy as np
import pytest
import soundfile
import torch

from tests.support.checkout import changed
from tests.support.closeness import assert_close
from tests.support.silero_package import join_speech, load_model
from xvectors.config.toolkits import installed_version, missing_packages
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import read_provenance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        bool(missing_packages("silero")), reason="silero-vad is not installed: make silero"
    ),
]


@pytest.fixture
def paused(checkout):
    """A checkout whose recordings have pauses; one has two channels, one no speech."""
    for path in sorted(checkout.corpus.glob("*_0*.*")):
        speech, rate = soundfile.read(path, dtype="float32", always_2d=True)
        speech = speech[:, 0]
        pause = np.random.default_rng(0).normal(0, 1e-3, rate).astype("float32")
        samples = np.concatenate([pause, speech, pause, speech[: rate // 2]])
        if path.stem == "clara_02":
            samples = np.stack([samples, 0.5 * samples], axis=1)
        soundfile.write(path, samples, rate, subtype="PCM_16")
    soundfile.write(checkout.corpus / "noise.wav", np.zeros(16000), 16000)
    with checkout.manifest.open("a") as file:
        file.write("noise\tnoise.wav\t\tnobody\n")
        file.write("part\tclara_02.flac\t\tclara\t\tstart=0.5\tend=2.5\n")
    checkout.xvector.update(on_error="skip", vad="silero")
    return checkout


def read(path, start=0.0, end=None):
    """Return a recording, or a part of it, as the encoder gets it."""
    from speechbrain.dataio.preprocess import AudioNormalizer  # noqa: PLC0415

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    last = None if end is None else round(end * rate)
    return AudioNormalizer()(torch.from_numpy(samples[round(start * rate) : last]), rate)


def test_the_speech_of_each_utterance_is_embedded(paused, reference):
    output = paused.run_well()
    assert "train: noise: no speech: " in output
    assert "train: 9 embedded, 0 already embedded, 1 failed" in output
    rows = {row[0]: row for row in paused.rows("train.tsv")}
    assert rows.pop("utt_id")[3:] == ["seconds", "speech_seconds"]
    with pytest.warns(DeprecationWarning):
        model = load_model()
    vectors = paused.vectors()
    for name, row in rows.items():
        path = paused.audio("clara_02" if name == "part" else name)
        times = (0.5, 2.5) if name == "part" else ()
        speech = join_speech(model, read(path, *times))
        assert float(row[4]) == pytest.approx(len(speech) / 16000, abs=1e-4)
        assert float(row[4]) < float(row[3])
        expected = reference.classifier.encode_batch(speech[None]).reshape(-1)
        assert_close(vectors[name][None], expected[None])
    assert rows["part"][3] == "2.0000"
    provenance = parse_provenance(read_provenance(paused.embeddings / "part.pt"))
    assert provenance["vad"] == f"silero {installed_version('silero-vad')}"
    assert provenance["speech_seconds"] == pytest.approx(float(rows["part"][4]), abs=1e-4)

    # Other batches and shards change neither vectors nor tables, nor does another storage.
    before, table = paused.times(), paused.rows("train.tsv")
    paused.xvector.update(n_shards=3, batch_size=None)
    assert "train: 0 embedded, 9 already embedded, 1 failed" in paused.run_well()
    assert (changed(before, paused.times()), paused.rows("train.tsv")) == (set(), table)
    paused.xvector["storage"] = "packed"
    paused.run_well()
    assert [row[3:] for row in paused.rows("train.tsv")] == [row[3:] for row in table]

    paused.xvector.update(vad=None, storage="files")
    assert "train: 10 embedded, 0 already embedded, 0 failed" in paused.run_well()
    assert paused.rows("train.tsv")[0] == ["utt_id", "speaker_id", "path", "seconds"]


def test_a_task_of_ones_own_cannot_use_it(quick):
    quick.xvector["vad"] = "silero"
    (line,) = quick.run_badly()
    assert line.endswith(
        "my.yaml: xvector.vad: own_task.Provider loads no encoder of ours; set vad to null"
    )
