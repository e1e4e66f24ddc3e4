"""Toolkits and their facts that need no import.

Adding one takes six steps, see docs/toolkits.md#add-a-toolkit.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from xvectors.errors import EncoderError

ENVS = Path(__file__).resolve().parents[3] / "envs"
MAX_NAMES = 3
# Distributions that hold the same package, of which one is installed.
ALTERNATIVES = {"onnxruntime": "onnxruntime-gpu"}


@dataclass(frozen=True)
class Toolkit:
    """Facts about a toolkit that are known without importing it.

    Attributes:
        encoder: Dotted name of its `Encoder`, which is made from source, device and precision.
        package: The distribution whose version changes vectors.
        default_model: Hub id of the encoder where none is configured; None if one must be.
        files: Glob patterns of what the folder of an encoder holds.
        single_files: Suffixes of files that are an encoder by themselves, and the names of what
            must lie beside such a file.
        packaged_file: Path, inside the package, of the encoder that `default_model` names; None
            if the package has none.
        precisions: Precisions in which embeddings stay close to those of fp32.
        gpu_package: The distribution that it computes with on GPUs; None if PyTorch does it.
        check: Dotted name of a function of a local source and a front end that checks an encoder
            without PyTorch, before any job; None if there is none.
        has_frontend: Whether its `Encoder` takes a front end, too.

    """

    encoder: str
    package: str
    default_model: str | None
    files: tuple[str, ...]
    single_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packaged_file: str | None = None
    precisions: tuple[str, ...] = ("fp32", "tf32", "bf16")
    gpu_package: str | None = None
    check: str | None = None
    has_frontend: bool = False

    def problem(self, source: Path) -> str | None:
        """Return why a folder or file cannot be an encoder, judged by names alone, or None."""
        if source.is_dir():
            for pattern in self.files:
                if not any(source.glob(pattern)):
                    return f"{source} has no {pattern}, which every encoder of this toolkit has"
            return None
        if source.suffix not in self.single_files:
            kinds = " or ".join(["a folder", *(f"a {suffix} file" for suffix in self.single_files)])
            return f"{source} is not an encoder of this toolkit: give {kinds}"
        for name in self.single_files[source.suffix]:
            if not (source.parent / name).is_file():
                return f"{source} has no {name} beside it"
        return None


TOOLKITS = {
    "speechbrain": Toolkit(
        encoder="xvectors.encoders.speechbrain.encoder.SpeechBrainEncoder",
        package="speechbrain",
        default_model="speechbrain/spkrec-ecapa-voxceleb",
        files=("hyperparams.yaml",),
    ),
    "espnet": Toolkit(
        encoder="xvectors.encoders.espnet.encoder.EspnetEncoder",
        package="espnet",
        default_model="espnet/voxcelebs12_rawnet3",
        files=("**/*.pth", "**/*.yaml"),
        single_files={".pth": ("config.yaml",), ".zip": ()},
    ),
    "rawnet": Toolkit(
        encoder="xvectors.encoders.rawnet.encoder.RawNetEncoder",
        package="asteroid-filterbanks",
        default_model=None,
        files=("*.pt",),
        single_files={".pt": ()},
    ),
    "resemblyzer": Toolkit(
        encoder="xvectors.encoders.resemblyzer.encoder.ResemblyzerEncoder",
        package="Resemblyzer",
        default_model="resemblyzer",
        files=("*.pt",),
        single_files={".pt": ()},
        packaged_file="resemblyzer/pretrained.pt",
        # Through 160 steps of an LSTM the rounding of bf16 adds up: cosines fell to 0.992.
        precisions=("fp32", "tf32"),
    ),
    "onnx": Toolkit(
        encoder="xvectors.encoders.onnx.encoder.OnnxEncoder",
        package="onnxruntime",
        default_model=None,
        files=("*.onnx",),
        single_files={".onnx": ()},
        # The types of a graph's products are fixed in the graph.
        precisions=("fp32",),
        gpu_package="onnxruntime-gpu",
        check="xvectors.encoders.onnx.graph.check_graph",
        has_frontend=True,
    ),
    "transformers": Toolkit(
        encoder="xvectors.encoders.transformers.encoder.TransformersEncoder",
        package="transformers",
        default_model=None,
        files=("config.json", "preprocessor_config.json"),
        # How close the others come has not been measured.
        precisions=("fp32",),
        check="xvectors.encoders.transformers.folder.check_folder",
    ),
}
# Suffixes of files that are an encoder by themselves; no hub id ends in one.
ENCODER_FILES = {suffix for toolkit in TOOLKITS.values() for suffix in toolkit.single_files}
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


def is_local(pretrained_model: str) -> bool:
    """Tell whether `pretrained_model` is a path rather than a hub id."""
    # Unlike Path.exists, this accepts names that are too long for a path.
    is_there = os.path.exists(pretrained_model)  # noqa: PTH110
    is_path = is_there or Path(pretrained_model).suffix in ENCODER_FILES
    return is_path or not HUB_ID.fullmatch(pretrained_model)


def local_path(pretrained_model: str) -> Path:
    """Return the path of a local encoder: its own, or that in the package that it comes with."""
    for toolkit in TOOLKITS.values():
        if toolkit.packaged_file and pretrained_model == toolkit.default_model:
            if installed_version(toolkit.package) is None:
                break
            return Path(str(distribution(toolkit.package).locate_file(toolkit.packaged_file)))
    return Path(pretrained_model)


def toolkit_named(name: str) -> Toolkit:
    """Return a toolkit, if its requirements are installed.

    Raises:
        EncoderError: There is no such toolkit, or packages that it needs are missing; one line
            that says what to install.

    """
    if name not in TOOLKITS:
        raise EncoderError(f"no toolkit is named {name}, there are {', '.join(TOOLKITS)}")
    require_packages(name)
    return TOOLKITS[name]


def require_packages(name: str) -> None:
    """Check that the packages of a toolkit, or of another extra, are installed.

    Raises:
        EncoderError: Some are missing; one line that says what to install.

    """
    missing = missing_packages(name)
    if missing:
        names = ", ".join(missing[:MAX_NAMES]) + (", ..." if len(missing) > MAX_NAMES else "")
        raise EncoderError(
            f"{name} needs packages that are not installed ({names}): {_remedy(name)}"
        )


def _remedy(name: str) -> str:
    """Return the command that installs a toolkit for a clone, a wheel, or a copy in a cache."""
    if (ENVS.parent / "Makefile").is_file():
        return f"make {name}"
    if ENVS.is_dir():
        return f"pip install -r {ENVS / name}.txt"
    return f"pip install 'xvectors[{name}]'"


def precision_problem(toolkit: str, precision: str) -> str | None:
    """Return why a toolkit does not compute in a precision, or None."""
    precisions = TOOLKITS[toolkit].precisions
    if precision in precisions:
        return None
    return f"{toolkit} has no {precision}; use {' or '.join(precisions)}"


def missing_packages(extra: str) -> list[str]:
    """Return the packages that a toolkit or another extra needs and that are not installed.

    A checkout lists them in ``envs/<extra>.txt``, an installed wheel as its extra.
    """
    requirements = ENVS / f"{extra}.txt"
    if requirements.is_file():
        lines = requirements.read_text(encoding="utf-8").splitlines()
    else:
        lines = _extra(extra)
    names = [line.partition("==")[0] for line in lines if line and not line.startswith("#")]
    return [name for name in names if installed_version(name) is None]


def _extra(name: str) -> list[str]:
    """Return the requirements of an extra of this package, none if it is not installed."""
    if installed_version("xvectors") is None:
        return []
    ending = f'; extra == "{name}"'
    return [line for line in requires("xvectors") or () if line.endswith(ending)]


def can_use_gpu(toolkit: str) -> bool:
    """Tell whether what a toolkit needs for a GPU is installed, apart from PyTorch."""
    known = TOOLKITS.get(toolkit)
    if known is None or known.gpu_package is None:
        return True
    return installed_version(known.gpu_package) is not None


def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution or of its alternative, None without one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return installed_version(ALTERNATIVES[package]) if package in ALTERNATIVES else None
