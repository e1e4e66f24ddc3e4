import logging
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from xvectors import BaseRunner
from xvectors.config import toolkits
from xvectors.config.resolving import resolve_config
from xvectors.errors import ConfigError
from xvectors.run.checks import check_config, check_manifests

REPOSITORY = Path(__file__).resolve().parents[3]


class OtherRunner(BaseRunner):
    @staticmethod
    def forward(idx):
        return idx


def settings(corpus: Path, encoder: Path, **others) -> dict:
    xvector = {
        "pretrained_model": str(encoder),
        "splits": ["train"],
        "manifest_paths": {"train": str(corpus / "train.tsv")},
    }
    return {"xvector": xvector | others}


def test_what_is_all_there_passes(corpus, demo_encoder):
    check_config(resolve_config(settings(corpus, demo_encoder)))


def test_a_precision_that_a_toolkit_lacks(corpus, demo_encoder, monkeypatch):
    exact = replace(toolkits.TOOLKITS["speechbrain"], precisions=("fp32", "tf32"))
    monkeypatch.setitem(toolkits.TOOLKITS, "speechbrain", exact)
    check_config(resolve_config(settings(corpus, demo_encoder, precision="tf32")))
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, demo_encoder, precision="bf16")), "my.yaml")
    assert str(error.value) == (
        "my.yaml: xvector.precision: speechbrain has no bf16; use fp32 or tf32"
    )


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"splits": ["train", "dev"]}, "manifest_paths.dev: no such manifest: data/manifest/dev"),
        (
            {
                "corpora": {
                    "train": {"kind": "folder", "path": ".", "pattern": "{speaker}/*"},
                    "other": {"kind": "folder", "path": ".", "pattern": "{speaker}/*"},
                },
                "manifest_paths": {"train": "same.tsv", "other": "same.tsv"},
            },
            "xvector.corpora.other: its manifest, same.tsv, is that of train too",
        ),
        (
            {"runner": f"{__name__}.OtherRunner", "exports": ["parquet"]},
            f"xvector.exports: {__name__}.OtherRunner leaves no speaker embeddings",
        ),
        (
            {"runner": f"{__name__}.OtherRunner", "storage": "packed"},
            f"xvector.storage: {__name__}.OtherRunner writes files of its own, not packs",
        ),
        ({"trials": {"mine": "none.txt"}}, "xvector.trials.mine: no such trial list: none.txt"),
        ({"cohort": "other"}, "xvector.cohort: other is not one of xvector.splits"),
        ({"manifest_paths": {"train": "none.tsv"}}, "train: no such manifest: none.tsv"),
        ({"pretrained_model": "/none/here"}, "xvector.pretrained_model: no such folder"),
        ({"pretrained_model": "./none"}, "xvector.pretrained_model: no such folder"),
        ({"pretrained_model": "tests"}, "xvector.pretrained_model: tests has no hyperparams.yaml"),
        ({"pretrained_model": None, "spk_embed_tag": "x"}, "XVectorProvider needs an encoder"),
        ({"save_path": "Makefile"}, "xvector.save_path: Makefile is not a directory"),
        (
            {"save_path": ".", "spk_embed_tag": "Makefile"},
            "xvector.save_path: Makefile is not a directory",
        ),
        ({"n_shards": {"dev": 2}}, "xvector.n_shards.dev: no such split"),
        (
            {"pretrained_model": "Makefile"},
            "Makefile is not an encoder of this toolkit: give a folder",
        ),
        ({"pretrained_model": "some/model.pt"}, "no such folder or file: some/model.pt"),
        ({"provider": "nowhere.Provider"}, "xvector.provider: cannot import 'nowhere.Provider'"),
        ({"runner": "xvectors.NoRunner"}, "xvector.runner: cannot import 'xvectors.NoRunner'"),
        (
            {"runner": "xvectors.tasks"},
            "xvector.runner: xvectors.tasks is not a subclass of BaseRunner",
        ),
        ({"runner": "xvectors.XVectorProvider"}, "XVectorProvider is not a subclass of BaseRunner"),
        ({"provider": "xvectors.EnvironmentProvider"}, "lacks build_env_local, build_worker_setup"),
        ({"save_path": "a{b}"}, "xvector.save_path: a{b} has a brace"),
        (
            {"corpora": {"train": {"kind": "ljspeech", "path": "none"}}},
            "xvector.corpora.train.path: no such file or folder: none",
        ),
        (
            {"corpora": {"train": {"kind": "vctk", "path": "tests", "subsets": ["a"]}}},
            "xvector.corpora.train.subsets: not an option of vctk (path, microphone)",
        ),
        (
            {"corpora": {"train": {"kind": "folder", "path": "tests"}}},
            "xvector.corpora.train.pattern: folder needs it",
        ),
    ],
)
def test_a_broken_reference_is_a_one_line_error(corpus, demo_encoder, others, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, demo_encoder, **others)), "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_split_with_a_corpus_needs_no_manifest_yet(corpus, demo_encoder):
    given = settings(corpus, demo_encoder, splits=["dev"], manifest_paths={})
    given["xvector"]["corpora"] = {"dev": {"kind": "folder", "path": str(corpus)}}
    given["xvector"]["corpora"]["dev"]["pattern"] = "{speaker}_*.wav"
    config = resolve_config({"data_dir": "/mine", **given})
    assert config.xvector.manifest_paths["dev"] == "/mine/manifest/dev.tsv"
    check_config(config)
    check_manifests(config)
    assert resolve_config(config.as_omegaconf()) == config


def test_a_corpus_that_has_changed_since_its_manifest_is_a_one_line_warning(
    corpus, tmp_path, caplog
):
    mine, manifest = tmp_path / "mine", tmp_path / "made" / "train.tsv"
    given = {"splits": ["train"], "manifest_paths": {"train": str(manifest)}}
    given["save_path"] = str(mine / "exp")
    given["corpora"] = {"train": {"kind": "folder", "path": str(mine), "pattern": "{speaker}/*"}}
    config = resolve_config({"xvector": given})
    (mine / "anna").mkdir(parents=True)
    manifest.parent.mkdir()
    shutil.copy(corpus / "train.tsv", manifest)
    caplog.set_level(logging.WARNING, "xvectors.run.checks")

    made = manifest.stat().st_mtime_ns
    os.utime(mine / "anna", ns=(made, made))
    # The output folder lies in the corpus, which is not read again for that.
    (mine / "exp").mkdir()
    check_manifests(config)
    assert caplog.messages == []

    os.utime(mine / "anna", ns=(made, made + 1))
    check_manifests(config)
    assert caplog.messages == [
        f"xvector.corpora.train: {mine / 'anna'} has changed since {manifest} was made. To list "
        "the corpus again, add --forcerun make_manifest_train to the command"
    ]


def test_shards_of_splits_that_are_not_asked_for(corpus, demo_encoder):
    others = {"n_shards": {"train": 2, "valid": 1}}
    check_config(resolve_config(settings(corpus, demo_encoder, **others)))


def test_a_missing_package_is_a_one_line_error_before_any_job_starts(tmp_path, corpus, monkeypatch):
    (tmp_path / "espnet.txt").write_text("# why\n\nnone-a==1\nnone-b==1\nnone-c==1\nnone-d==1\n")
    monkeypatch.setattr(toolkits, "ENVS", tmp_path)
    xvector = {"toolkit": "espnet", "splits": ["train"]}
    xvector["manifest_paths"] = {"train": str(corpus / "train.tsv")}
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config({"xvector": xvector}), "my.yaml")
    assert str(error.value) == (
        "my.yaml: xvector.toolkit: espnet needs packages that are not installed "
        f"(none-a, none-b, none-c, ...): pip install -r {tmp_path / 'espnet.txt'}"
    )


def test_a_front_end_for_a_toolkit_that_has_its_own(corpus, demo_encoder):
    given = settings(corpus, demo_encoder, frontend="raw")
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(given), "my.yaml")
    assert str(error.value) == (
        "my.yaml: xvector.frontend: speechbrain has its own front end; leave the key out"
    )


def test_a_toolkits_own_check_of_an_encoder_is_a_one_line_error(corpus, tmp_path):
    if toolkits.missing_packages("onnx"):
        pytest.skip("onnxruntime is not installed: make onnx")
    graph = tmp_path / "broken.onnx"
    graph.write_bytes(b"no graph")
    given = settings(corpus, graph, toolkit="onnx", frontend="wespeaker", precision="tf32")
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(given), "my.yaml")
    precision, model = str(error.value).splitlines()
    assert precision == "my.yaml: xvector.precision: onnx has no tf32; use fp32"
    assert model.startswith(f"my.yaml: xvector.pretrained_model: {graph}: onnxruntime")


def test_a_gpu_that_a_toolkit_cannot_use(corpus, demo_encoder, monkeypatch):
    limited = replace(toolkits.TOOLKITS["speechbrain"], gpu_package="none-of-ours")
    monkeypatch.setitem(toolkits.TOOLKITS, "speechbrain", limited)
    config = resolve_config(settings(corpus, demo_encoder))
    assert config.xvector.device == "cpu"
    check_config(config)
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, demo_encoder, device="cuda:1")), "my.yaml")
    assert str(error.value) == (
        "my.yaml: xvector.device: speechbrain needs none-of-ours for a GPU; install it, or use "
        "xvector.device: cpu"
    )


@pytest.mark.parametrize("path", ["s3://bucket/x_vectors", "gs://b", "https://host/x"])
def test_object_storage_is_refused(corpus, demo_encoder, path):
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, demo_encoder, save_path=path)), "my.yaml")
    assert str(error.value) == (
        f"my.yaml: xvector.save_path: {path} is a URL; give a path: files are read, renamed and "
        "locked on a file system"
    )


def test_a_folder_as_manifest_is_named_as_a_corpus(corpus, demo_encoder):
    given = settings(corpus, demo_encoder, manifest_paths={"train": str(corpus)})
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(given), "my.yaml")
    assert str(error.value) == (
        f"my.yaml: xvector.manifest_paths.train: {corpus} is a folder: name it as a corpus, "
        f"xvector.corpora: {{train: {{kind: ..., path: {corpus}}}}}"
    )


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 83316686\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (LFS_POINTER, "is a pointer of Git LFS, not the file itself: run git lfs pull there"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the file itself: download it again"),
        (None, "is a link to /nowhere/blob, which does not exist"),
    ],
)
def test_a_checkpoint_that_is_only_a_stand_in(corpus, demo_encoder, tmp_path, content, problem):
    encoder = tmp_path / "encoder"
    shutil.copytree(demo_encoder, encoder)
    checkpoint = encoder / "embedding_model.ckpt"
    checkpoint.unlink()
    if content is None:
        checkpoint.symlink_to("/nowhere/blob")
    else:
        checkpoint.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, encoder)), "my.yaml")
    assert str(error.value) == f"my.yaml: xvector.pretrained_model: {checkpoint} {problem}"


def test_an_encoder_that_is_a_dead_link(corpus, tmp_path):
    encoder = tmp_path / "encoder"
    encoder.symlink_to("/nowhere/encoder")
    with pytest.raises(ConfigError) as error:
        check_config(resolve_config(settings(corpus, encoder)), "my.yaml")
    assert str(error.value) == (
        f"my.yaml: xvector.pretrained_model: {encoder} is a link to /nowhere/encoder, which does "
        "not exist"
    )


def test_espnet3s_defaults_are_said(corpus, demo_encoder, caplog):
    given = settings(corpus, demo_encoder) | {"recipe_dir": "."}
    with suppress(ConfigError):  # ESPnet may not be installed here.
        check_config(resolve_config(given), "my.yaml")
    assert caplog.messages == [
        "my.yaml: xvector.toolkit is not given, taking ESPnet3's default: espnet"
    ]
