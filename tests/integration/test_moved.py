"""Output folders that are copied or moved, and tables of absolute paths."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pyarrow import parquet

from tests.support.kaldi_files import read_vectors
from tests.support.random_encoder import write_random_encoder

pytestmark = pytest.mark.integration


def exported(path):
    table = parquet.read_table(path)
    return dict(zip(table["utt_id"].to_pylist(), table["embedding"].to_numpy(), strict=True))


def is_same(found, expected):
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name].numpy()) for name in found
    )


def test_a_copy_exports_its_own_embeddings(done):
    own = done.vectors()
    shutil.copytree(done.root / "out", done.root / "copy")
    write_random_encoder(done.root / "other")
    done.xvector["pretrained_model"] = "other"
    done.run_well()
    assert not is_same({name: one.numpy() for name, one in done.vectors().items()}, own)

    done.xvector |= {"pretrained_model": "config/demo/encoder", "save_path": "copy"}
    done.xvector["exports"] = ["parquet"]
    assert "0 embedded, 8 already embedded" in done.run_well()
    assert is_same(exported(done.root / "copy" / "tag" / "train.parquet"), own)


def test_a_moved_folder_is_as_good_as_before(done):
    done.xvector |= {"exports": ["kaldi", "espnet3"]}
    done.run_well()
    own = done.vectors()
    (done.root / "out").rename(done.root / "moved")
    done.xvector["save_path"] = "moved"
    done.run_well()
    jobs = done.snakemake_log()
    moved = done.root / "moved" / "tag"
    # Of all that lies there, Kaldi's files alone hold absolute paths.
    assert "rule export_kaldi" in jobs
    assert "rule embed_shard" not in jobs
    assert is_same(read_vectors(moved / "train.kaldi" / "xvector.scp"), own)
    assert len(list((done.root / "moved" / "tag_train").glob("*.pt"))) == 8
    assert "Nothing to be done" in done.run_well()

    done.xvector["exports"] = ["parquet", "numpy", "cosyvoice"]
    done.run_well()
    assert is_same(exported(moved / "train.parquet"), own)
    names = (moved / "train.ids.txt").read_text().splitlines()
    assert is_same(dict(zip(names, np.load(moved / "train.npy"), strict=True)), own)
    utterances = torch.load(moved / "train.cosyvoice" / "utt2embedding.pt", weights_only=True)
    assert {name: torch.tensor(values).tolist() for name, values in utterances.items()} == {
        name: vector.tolist() for name, vector in own.items()
    }


def test_a_table_of_absolute_paths_is_made_anew(done):
    done.xvector["exports"] = ["parquet"]
    done.run_well()
    table = done.out / "train.tsv"
    before = table.read_bytes()
    times = done.times()
    table.write_bytes(before.replace(b"\ttrain/", f"\t{done.out}/train/".encode()))
    assert table.read_bytes() != before
    done.run_well()
    assert table.read_bytes() == before
    assert done.times() == times
    assert "Nothing to be done" in done.run_well()


def test_espnet3s_link(done):
    done.xvector["exports"] = ["espnet3"]
    link = done.root / "out" / "tag_train"
    done.run_well()
    assert len(list(link.glob("*.pt"))) == 8
    link.unlink()
    done.run_well()
    assert len(list(link.glob("*.pt"))) == 8
    # Embeddings that ESPnet3 has made there are not touched.
    link.unlink()
    link.mkdir()
    (link / "mine.pt").write_bytes(b"mine")
    (error,) = [line for line in done.run_badly() if "tag_train" in line]
    assert "exists and is not a link; move it away" in error
    assert (link / "mine.pt").read_bytes() == b"mine"
    done.xvector["storage"] = "packed"
    assert "espnet3 links .pt files" in done.run_badly("--dry-run")[0]


def contents(folder: Path) -> dict[Path, int]:
    """Return the paths in a folder with their times, but for Python's own caches."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in paths}


def test_a_shared_checkout_is_left_as_it_is(checkout, tmp_path_factory):
    mine = tmp_path_factory.mktemp("mine")
    checkout.corpus.rename(mine / "corpus")
    encoder = checkout.root / "config" / "demo" / "encoder"
    settings = checkout.xvector | {"pretrained_model": str(encoder), "report": True}
    (mine / "my.yaml").write_text(yaml.safe_dump({"xvector": settings}))
    folders = [path for path in checkout.root.rglob("*") if path.is_dir()]
    for path in [*folders, checkout.root]:
        path.chmod(0o555)
    before = contents(checkout.root)
    command = [sys.executable, "-m", "snakemake", "-s", str(checkout.root / "Snakefile")]
    try:
        result = subprocess.run(
            [*command, "--cores", "2", "--configfile", "my.yaml"],
            cwd=mine,
            env=checkout.environment() | {"PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert contents(checkout.root) == before
    finally:
        for path in [checkout.root, *folders]:
            path.chmod(0o755)
    assert len(list((mine / "out" / "tag" / "train").glob("*.pt"))) == 8
    assert (mine / "out" / "tag" / ".logs" / "embed_shard").is_dir()
