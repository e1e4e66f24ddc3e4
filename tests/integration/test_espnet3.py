"""ESPnet3's recipes, and no configuration at all, from a folder that is not the repository's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import REPOSITORY, Checkout

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
    command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
    encoder = REPOSITORY / "config" / "demo" / "encoder"
    return subprocess.run(
        [*command, "--cores", "2", *arguments],
        cwd=recipe,
        env={**os.environ, "DEMO_ENCODER": str(encoder), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


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


def test_no_configuration_is_one_line(tmp_path):
    result = snakemake(tmp_path, "-n")
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert errors == [
        "error: no configuration: give --configfile my.yaml (from the repository's folder the demo "
        "runs without one)"
    ]
