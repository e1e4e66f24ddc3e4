import numpy as np
import torch

from tests.unit.results.test_exporting import write
from xvectors.results.cosyvoice import export_cosyvoice


def test_the_dictionaries_are_read_back(tmp_path):
    index, vectors = write(tmp_path / "split", ["é-2", "b-1", "é-1"])
    export_cosyvoice(index, tmp_path / "train.cosyvoice")
    utterances = torch.load(tmp_path / "train.cosyvoice" / "utt2embedding.pt", weights_only=True)
    assert list(utterances) == ["é-2", "b-1", "é-1"]
    for name, values in utterances.items():
        assert type(values) is list
        assert type(values[0]) is float
        assert np.array_equal(np.array(values, dtype=np.float32), vectors[name])
    speakers = torch.load(tmp_path / "train.cosyvoice" / "spk2embedding.pt", weights_only=True)
    # As CosyVoice's own script has it.
    mean = torch.tensor([utterances["é-2"], utterances["é-1"]]).mean(dim=0)
    assert speakers.keys() == {"é", "b"}
    assert np.allclose(speakers["é"], mean, atol=1e-6)
    assert speakers["b"] == utterances["b-1"]


def test_the_same_embeddings_give_the_same_files(tmp_path):
    index, _ = write(tmp_path / "split", ["a-1", "a-2"])
    for name in ("one", "two"):
        export_cosyvoice(index, tmp_path / name)
    for name in ("utt2embedding.pt", "spk2embedding.pt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
