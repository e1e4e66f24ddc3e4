import numpy as np
import pytest
import soundfile

from tests.support.checkout import changed
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import read_provenance

pytestmark = pytest.mark.integration


@pytest.fixture
def segmented(checkout):
    """A checkout whose utterances are segments of one recording of the eight."""
    parts = [soundfile.read(checkout.audio(name))[0] for name in ("alba_00", "boris_01")]
    recording = np.concatenate(parts)
    soundfile.write(checkout.corpus / "long.flac", recording, 16000)
    times = [("one", 0, 1.5), ("two", 1.25, 2.0), ("three", 2.0, len(recording) / 16000)]
    lines = [f"{name}\tlong.flac\t\ts\t\tstart={a}\tend={b}\n" for name, a, b in times]
    checkout.manifest.write_text("".join(lines), encoding="utf-8")
    return checkout


def test_every_segment_gets_the_embedding_that_it_has_alone(segmented, reference):
    segmented.run_well()
    recording, rate = soundfile.read(segmented.corpus / "long.flac", dtype="float32")
    for name, start, end in (("one", 0, 1.5), ("two", 1.25, 2.0), ("three", 2.0, None)):
        part = recording[round(start * rate) : None if end is None else round(end * rate)]
        soundfile.write(segmented.root / "part.wav", part, rate, subtype="FLOAT")
        reference.assert_same(segmented.vectors()[name], segmented.root / "part.wav")
    assert [row[3] for row in segmented.rows("train.tsv")[1:3]] == ["1.5000", "0.7500"]


def test_a_segment_that_moves_is_embedded_again_and_no_other(segmented):
    segmented.run_well()
    before = segmented.times()
    text = segmented.manifest.read_text()
    segmented.manifest.write_text(text.replace("end=2.0\n", "end=1.75\n"))
    assert "1 embedded, 2 already embedded" in segmented.run_well()
    assert changed(before, segmented.times()) == {"two"}
    provenance = parse_provenance(read_provenance(segmented.embeddings / "two.pt"))
    assert (provenance["start"], provenance["end"]) == (1.25, 1.75)


def test_a_segment_beyond_the_end_fails_alone(segmented):
    with segmented.manifest.open("a", encoding="utf-8") as file:
        file.write("four\tlong.flac\t\ts\t\tstart=3\tend=99\n")
    result = segmented.run()
    assert result.returncode != 0
    assert "train: four: segment beyond the end: " in result.stdout
    assert segmented.times().keys() == {"one", "two", "three"}
