"""ESPnet3's recipes, and no configuration at all, from a folder that is not the repository's."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.inference.classifiers import EncoderClassifier
from torchaudio.functional import resample

from tests.support.checkout import DEMO, REPOSITORY, Checkout
from tests.support.closeness import TOLERANCE
from tests.support.snakemake_process import run_snakemake
from tests.support.toolkit_models import CHECKPOINT, make_espnet_encoder, make_rawnet_checkpoint
from xvectors import XVectorProvider, XVectorRunner
from xvectors.config.toolkits import missing_packages

TEMPLATE = """
recipe_dir: ???
data_dir: ${recipe_dir}/data
xvector:
  toolkit: speechbrain
  pretrained_model: ???
  device: null
  batch_size: null
  async_mode: false
  save_path: ${data_dir}/x_vectors
  spk_embed_tag: tag
  manifest_paths:
    train: ${data_dir}/manifest/train.tsv
  splits: [train]
parallel:
  env: local
  n_workers: 1
remove_long_short:
  min_wav_duration: 1.0
dataset:
  speaker_embeddings: ${xvector.save_path}/${xvector.spk_embed_tag}_train
"""
RECIPE = """
recipe_dir: .
xvector:
  pretrained_model: ${oc.env:DEMO_ENCODER}
  device: cpu
parallel:
  n_workers: 2
"""


@pytest.fixture
def recipe(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe's folder with its configurations and its manifest."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "conf").mkdir()
    (folder / "conf" / "training.yaml").write_text(RECIPE)
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "data").mkdir()
    checkout.corpus.rename(folder / "data" / "manifest")
    return folder


def snakemake(recipe: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the repository's workflow in a recipe's folder."""
    arguments = ("-s", str(REPOSITORY / "Snakefile"), "--cores", "2", *arguments)
    encoder = REPOSITORY / "config" / "demo" / "encoder"
    environment = {**os.environ, "DEMO_ENCODER": str(encoder), "HF_HUB_OFFLINE": "1"}
    return run_snakemake(*arguments, folder=recipe, environment=environment)


def test_a_recipe_over_its_template_leaves_what_the_recipe_reads(recipe):
    result = snakemake(recipe, "--configfile", "template.yaml", "conf/training.yaml")
    assert result.returncode == 0, result.stdout
    assert "ESPnet3's default" not in result.stdout
    out = recipe / "data" / "x_vectors"
    assert len(list((out / "tag" / "train").glob("*.pt"))) == 8
    assert (out / "tag" / ".shards" / "train" / "1-of-2.done").is_file()
    # What the recipe's dataset section reads.
    assert len(list((out / "tag_train").glob("*.pt"))) == 8
    assert (out / "tag_train").resolve() == (out / "tag" / "train").resolve()


def test_a_recipe_alone_is_never_embedded_with_another_encoder(recipe):
    alone = "recipe_dir: .\nxvector: {splits: [train], device: cpu}\n"
    (recipe / "conf" / "training.yaml").write_text(alone)
    lines = snakemake(recipe, "-n", "--configfile", "conf/training.yaml").stdout.splitlines()
    where = "conf/training.yaml: xvector."
    assert [line.rpartition(where)[2] for line in lines if "ESPnet3's default" in line] == [
        "toolkit is not given, taking ESPnet3's default: espnet",
        "pretrained_model is not given, taking ESPnet3's default: espnet/voxcelebs12_rawnet3",
    ]


RATE = 16000
# RawNet3's recipe: ten windows of three seconds.
WINDOW, N_WINDOWS = 48000, 10

# Resampled signals differ by 1.2e-6 of full scale, which encoders of the raw waveform amplify.
RESAMPLED_TOLERANCE = 2e-3

Embed = Callable[[np.ndarray, int], torch.Tensor]


def espnets(folder: Path) -> tuple[Path, Embed]:
    """Return a random encoder of ESPnet's default kind, and how ESPnet3 embeds with it."""
    from espnet2.bin.spk_inference import Speech2Embedding  # noqa: PLC0415

    make_espnet_encoder(folder, "rawnet3")
    model = Speech2Embedding(folder / "config.yaml", folder / CHECKPOINT)
    return folder / CHECKPOINT, lambda wav, rate: model(at_16_khz(wav, rate))[0]


def speechbrains(_: Path) -> tuple[Path, Embed]:
    """Return the demo's encoder, and how ESPnet3 embeds with it."""
    source = DEMO / "encoder"
    model = EncoderClassifier.from_hparams(
        source=str(source), savedir=None, overrides={"pretrained_path": str(source)}
    )

    def embed(wav: np.ndarray, rate: int) -> torch.Tensor:
        signal = AudioNormalizer()(torch.from_numpy(wav), rate)
        return model.encode_batch(signal[None]).flatten()

    return source, embed


def rawnets(folder: Path) -> tuple[Path, Embed]:
    """Return a random RawNet3, and how ESPnet3 embeds with it."""
    from xvectors.encoders.rawnet.encoder import RawNetEncoder  # noqa: PLC0415

    path = make_rawnet_checkpoint(folder / "model.pt")
    network = RawNetEncoder(path, "cpu", "fp32").network

    def embed(wav: np.ndarray, rate: int) -> torch.Tensor:
        signal = at_16_khz(wav, rate).numpy()
        if len(signal) < WINDOW:
            signal = np.pad(signal, (0, WINDOW - len(signal) + 1), "wrap")
        starts = np.linspace(0, len(signal) - WINDOW, num=N_WINDOWS).astype(int)
        windows = np.stack([signal[start : start + WINDOW] for start in starts])
        return network(torch.from_numpy(windows)).mean(0)

    return path, embed


def at_16_khz(wav: np.ndarray, rate: int) -> torch.Tensor:
    return resample(torch.from_numpy(wav), rate, RATE)


def their_runner(path: Path, embed: Embed) -> torch.Tensor:
    """Embed an utterance as ESPnet3's XVectorRunner does: mix channels, resample, embed."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    with torch.inference_mode():
        return embed(samples.mean(1), rate)


@pytest.mark.parametrize(
    ("toolkit", "make"), [("speechbrain", speechbrains), ("espnet", espnets), ("rawnet", rawnets)]
)
def test_espnet3s_runner_gives_the_same_vectors(tmp_path, toolkit, make):
    if missing_packages(toolkit):
        pytest.skip(f"{toolkit} is not installed: make {toolkit}")
    model, embed = make(tmp_path)
    speech, rate = soundfile.read(DEMO / "wav" / "edith" / "edith_00.flac", dtype="float32")
    kinds = {
        "wav": (speech[:, None], RATE),
        "flac": (np.stack([speech, -0.5 * speech[::-1]], 1), 24000),
        "mp3": (np.stack([speech, 0.3 * speech[::-1]], 1), rate),
        "ogg": (speech[:16000, None], 8000),
    }
    for kind, (samples, rate) in kinds.items():
        soundfile.write(tmp_path / f"a.{kind}", samples, rate)
    manifest = tmp_path / "train.tsv"
    manifest.write_text("".join(f"{kind}\ta.{kind}\twords\tedith\n" for kind in kinds))
    config = {"xvector": {"toolkit": toolkit, "pretrained_model": str(model), "device": "cpu"}}
    params = {"manifest_path": str(manifest), "output_dir": str(tmp_path / "out")}
    XVectorRunner(XVectorProvider(config, params=params), batch_size=3)(range(len(kinds)))
    for kind, (_, rate) in kinds.items():
        found = torch.load(tmp_path / "out" / f"{kind}.pt", weights_only=True)
        expected = their_runner(tmp_path / f"a.{kind}", embed)
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        print(f"{toolkit}, {rate} Hz: {difference:.1e}")
        is_same_signal = rate == RATE or toolkit == "speechbrain"
        assert difference <= (TOLERANCE if is_same_signal else RESAMPLED_TOLERANCE)


def test_no_configuration_is_a_one_line_error(tmp_path):
    result = snakemake(tmp_path, "-n")
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert errors == [
        "error: no configuration: give --configfile my.yaml (from the repository's folder the demo "
        "runs without one)"
    ]
