"""What several tests need: the demo's encoder, small corpora, a reference, checkouts."""

import os
import shutil
from pathlib import Path

# Threads that wait would keep the processors of other tests busy. OpenMP reads it once.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import soundfile
import torch
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.inference.classifiers import EncoderClassifier

from tests.support.checkout import DEMO, QUICK_TASK, Checkout
from tests.support.closeness import TOLERANCE


@pytest.fixture(scope="session")
def demo_encoder() -> Path:
    """Folder of the encoder that ships with the repository."""
    return DEMO / "encoder"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with a manifest, ``train.tsv``, of six recordings of several kinds."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    names = ["alba_00", "boris_01", "clara_02", "edith_02", "fergus_03", "hugo_04"]
    lines = []
    for name in names:
        speaker = name.split("_")[0]
        (audio,) = (DEMO / "wav" / speaker).glob(f"{name}.*")
        shutil.copy(audio, folder)
        lines.append(f"{name}\t{audio.name}\tsome words\t{speaker}\n")
    (folder / "train.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


class Reference:
    """SpeechBrain itself, one file at a time."""

    def __init__(self, folder: Path) -> None:
        self.classifier = EncoderClassifier.from_hparams(
            source=str(folder), savedir=None, overrides={"pretrained_path": str(folder)}
        )

    def embed(self, path: Path) -> torch.Tensor:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        signal = AudioNormalizer()(torch.from_numpy(samples), sample_rate)
        return self.classifier.encode_batch(signal).reshape(-1)

    def assert_same(self, embedding: torch.Tensor, path: Path) -> None:
        expected = self.embed(path)
        assert embedding.dtype == torch.float32
        assert embedding.shape == expected.shape
        difference = (embedding - expected).abs().max() / expected.abs().max()
        assert difference <= TOLERANCE, f"{path}: {difference}"


@pytest.fixture(scope="session")
def reference(demo_encoder: Path) -> Reference:
    """SpeechBrain's own embeddings by the demo's encoder."""
    return Reference(demo_encoder)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout."""
    return Checkout(tmp_path)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose corpus is embedded, to be copied only."""
    checkout = Checkout(tmp_path_factory.mktemp("embedded"))
    checkout.run_well()
    return checkout


@pytest.fixture
def done(embedded: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of one's own whose corpus is embedded."""
    return embedded.copied(tmp_path)


@pytest.fixture
def quick(checkout: Checkout) -> Checkout:
    """A fresh checkout with a task in the encoder's place whose jobs take no time."""
    checkout.use_task(QUICK_TASK)
    return checkout


@pytest.fixture(scope="session")
def quickly_done(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose corpus a quick task has gone through, to be copied only."""
    checkout = Checkout(tmp_path_factory.mktemp("quick"))
    checkout.use_task(QUICK_TASK)
    checkout.run_well()
    return checkout


@pytest.fixture
def quick_done(quickly_done: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of one's own whose corpus a quick task has gone through."""
    return quickly_done.copied(tmp_path)
