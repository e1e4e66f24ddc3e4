import numpy as np
import pytest
import soundfile

from tests.support.checkout import changed
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import read_provenance

pytestmark = pytest.mark.integration


def test_segments_of_a_recording(checkout, reference):
    parts = [soundfile.read(checkout.audio(name))[0] for name in ("alba_00", "boris_01")]
    soundfile.write(checkout.corpus / "long.flac", np.concatenate(parts), 16000)
    recording, rate = soundfile.read(checkout.corpus / "long.flac", dtype="float32")
    times = {"one": (0, 1.5), "two": (1.25, 2.0), "three": (2.0, len(recording) / rate)}
    lines = [f"{utt}\tlong.flac\t\ts\t\tstart={a}\tend={b}\n" for utt, (a, b) in times.items()]
    beyond = "four\tlong.flac\t\ts\t\tstart=3\tend=99\n"
    checkout.manifest.write_text("".join([*lines, beyond]), encoding="utf-8")
    result = checkout.run()
    assert result.returncode != 0
    assert "train: four: segment beyond the end: " in result.stdout
    vectors = checkout.vectors()
    assert vectors.keys() == times.keys()
    # Each as if it were a recording of its own.
    for name, (start, end) in times.items():
        part = recording[round(start * rate) : round(end * rate)]
        soundfile.write(checkout.root / "part.wav", part, rate, subtype="FLOAT")
        reference.assert_same(vectors[name], checkout.root / "part.wav")

    before = checkout.times()
    moved = "".join(lines).replace("end=2.0\n", "end=1.75\n")
    checkout.manifest.write_text(moved, encoding="utf-8")
    checkout.run_well()
    assert changed(before, checkout.times()) == {"two"}
    assert [row[3] for row in checkout.rows("train.tsv")[1:3]] == ["1.5000", "0.5000"]
    provenance = parse_provenance(read_provenance(checkout.embeddings / "two.pt"))
    assert (provenance["start"], provenance["end"]) == (1.25, 1.75)
