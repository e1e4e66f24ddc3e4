import re
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from xvectors.config import toolkits
from xvectors.config.imports import import_class
from xvectors.config.resolving import resolve_config
from xvectors.config.toolkits import (
    ENVS,
    TOOLKITS,
    can_use_gpu,
    installed_version,
    is_local,
    local_path,
    missing_packages,
    precision_problem,
    require_packages,
)
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.identity import collect_numerics
from xvectors.errors import ConfigError, EncoderError


def test_the_schema_and_the_table_name_the_same_toolkits():
    with pytest.raises(ConfigError, match=f"must be one of {', '.join(TOOLKITS)}, not 'none'"):
        resolve_config({"xvector": {"toolkit": "none"}})


@pytest.mark.parametrize("name", TOOLKITS)
def test_every_toolkit_can_be_installed(name):
    makefile = (ENVS.parent / "Makefile").read_text()
    toolkit = TOOLKITS[name]
    if name != "speechbrain":
        requirements = (ENVS / f"{name}.txt").read_text().splitlines()
        pinned = [line for line in requirements if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pinned)
        assert toolkit.package in {line.partition("==")[0] for line in pinned}
        assert re.search(rf"^EXTRAS := (\w+ )*{name}( \w+)*$", makefile, re.MULTILINE)
    if not missing_packages(name):
        assert issubclass(import_class(toolkit.encoder, "toolkit"), Encoder)


@pytest.mark.parametrize(("toolkit", "model"), [(n, t.default_model) for n, t in TOOLKITS.items()])
def test_the_default_model_and_the_version_are_the_toolkits(toolkit, model):
    config = resolve_config({"xvector": {"toolkit": toolkit, "spk_embed_tag": "tag"}})
    assert config.xvector.pretrained_model == model
    assert resolve_config(config.as_omegaconf()) == config
    version = installed_version(TOOLKITS[toolkit].package)
    assert collect_numerics(config)["toolkit_version"] == version
    mine = {"toolkit": toolkit, "pretrained_model": "my/model"}
    assert resolve_config({"xvector": mine}).xvector.pretrained_model == "my/model"


def test_an_encoder_may_come_with_its_package(monkeypatch, tmp_path):
    assert is_local("resemblyzer")
    assert local_path("my/model.pt") == Path("my/model.pt")
    monkeypatch.setattr(toolkits, "installed_version", lambda package: None)
    assert local_path("resemblyzer") == Path("resemblyzer")
    (tmp_path / "Resemblyzer-0.1.4.dist-info").mkdir()
    (tmp_path / "Resemblyzer-0.1.4.dist-info" / "METADATA").write_text("Name: Resemblyzer\n")
    monkeypatch.setattr(toolkits, "installed_version", lambda package: "0.1.4")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert local_path("resemblyzer") == tmp_path / "resemblyzer" / "pretrained.pt"
    assert local_path("./resemblyzer") == Path("resemblyzer")


def test_a_package_may_be_installed_in_another_build(monkeypatch, tmp_path):
    (tmp_path / "onnx.txt").write_text("onnxruntime==1\n")
    monkeypatch.setattr(toolkits, "ENVS", tmp_path)

    installed = []

    def version(package):
        if package not in installed:
            raise PackageNotFoundError(package)
        return "2"

    monkeypatch.setattr(toolkits, "version", version)
    for packages, missing, has_gpu in (
        ([], ["onnxruntime"], False),
        (["onnxruntime"], [], False),
        (["onnxruntime-gpu"], [], True),
    ):
        installed[:] = packages
        assert missing_packages("onnx") == missing
        assert can_use_gpu("onnx") == has_gpu
        assert installed_version("onnxruntime") == (None if missing else "2")
    assert can_use_gpu("speechbrain")
    assert can_use_gpu("none of ours")


def test_a_precision_that_a_toolkit_lacks():
    assert precision_problem("speechbrain", "bf16") is None
    assert precision_problem("resemblyzer", "bf16") == "resemblyzer has no bf16; use fp32 or tf32"
    assert precision_problem("onnx", "tf32") == "onnx has no tf32; use fp32"


@pytest.mark.parametrize(
    ("toolkit", "files", "source", "problem"),
    [
        ("speechbrain", ["hyperparams.yaml"], "", None),
        (
            "speechbrain",
            ["a/hyperparams.yaml"],
            "",
            "has no hyperparams.yaml, which every encoder of this toolkit has",
        ),
        ("espnet", ["exp/a/1epoch.pth", "exp/a/config.yaml"], "", None),
        (
            "espnet",
            ["exp/a/config.yaml"],
            "",
            r"has no \*\*/\*.pth, which every encoder of this toolkit has",
        ),
        ("espnet", ["1epoch.pth", "config.yaml"], "1epoch.pth", None),
        ("espnet", ["1epoch.pth"], "1epoch.pth", "1epoch.pth has no config.yaml beside it"),
        ("espnet", ["model.zip"], "model.zip", None),
        ("espnet", ["model.pt"], "model.pt", "give a folder or a .pth file or a .zip file"),
        ("rawnet", ["model.pt"], "model.pt", None),
        ("rawnet", ["model.pt"], "", None),
        ("rawnet", ["model.ckpt"], "", r"has no \*.pt, which every encoder of this toolkit has"),
        ("resemblyzer", ["pretrained.pt"], "pretrained.pt", None),
        ("resemblyzer", ["pretrained.ckpt"], "pretrained.ckpt", "give a folder or a .pt file"),
        ("onnx", ["campplus.onnx"], "campplus.onnx", None),
        ("onnx", ["campplus.onnx"], "", None),
        ("onnx", ["campplus.pt"], "", r"has no \*.onnx, which every encoder of this toolkit has"),
        ("transformers", ["config.json", "preprocessor_config.json"], "", None),
        (
            "transformers",
            ["config.json"],
            "",
            "has no preprocessor_config.json, which every encoder of this toolkit has",
        ),
        ("transformers", ["model.safetensors"], "model.safetensors", "toolkit: give a folder$"),
    ],
)
def test_what_is_no_encoder_by_its_names(tmp_path, toolkit, files, source, problem):
    for name in files:
        path = Path(tmp_path / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = TOOLKITS[toolkit].problem(tmp_path / source)
    assert found is None if problem is None else re.search(problem, found)


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(toolkits, "missing_packages", lambda name: ["onnxruntime"])
    monkeypatch.setattr(toolkits, "ENVS", tmp_path / "envs")
    in_a_wheel = "pip install 'xvectors[onnx]'"
    in_a_cache = f"pip install -r {tmp_path}/envs/onnx.txt"
    in_a_clone = "make onnx"
    for name, command in (
        (None, in_a_wheel),
        ("envs/onnx.txt", in_a_cache),
        ("Makefile", in_a_clone),
    ):
        if name is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        with pytest.raises(EncoderError, match=re.escape(f"(onnxruntime): {command}")):
            require_packages("onnx")
