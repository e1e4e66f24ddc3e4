"""Products stay right when OpenMP grants fewer threads than PyTorch asks for.

OpenMP reads its variables when it is loaded, so each case has a process of its own.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.support.checkout import REPOSITORY
from tests.support.closeness import assert_close
from tests.support.toolkit_models import make_espnet_encoder, make_rawnet_checkpoint, speech
from xvectors.config.toolkits import TOOLKITS, local_path, missing_packages
from xvectors.encoders import threads
from xvectors.encoders.device import has_bf16
from xvectors.encoders.encoder import load_encoder
from xvectors.errors import EncoderError

# The processes have one processor, for which OMP_DYNAMIC grants one thread. All toolkits take the
# same care, so they meet one of these.
ENVIRONMENTS = {
    "limited": ({"OMP_THREAD_LIMIT": "1"}, TOOLKITS),
    "dynamic": ({"OMP_DYNAMIC": "true"}, ["speechbrain"]),
    "without levels": ({"OMP_MAX_ACTIVE_LEVELS": "0"}, ["speechbrain"]),
}
SCRIPT = """
import json, logging, os, sys
from pathlib import Path

os.sched_setaffinity(0, {0})

import torch
from xvectors.encoders.prepacked import linear, prepack

torch.set_num_threads(2)
folder = Path(sys.argv[1])
x, weight = torch.ones(1000, 512), torch.ones(512, 512)
print("right without care:", bool((linear(x, prepack(weight)) == 512).all()))

logging.basicConfig(level="WARNING", format="%(name)s %(message)s", stream=sys.stdout)
from xvectors.encoders.encoder import load_encoder

signals = torch.load(folder / "signals")
for toolkit, source, precision in json.loads((folder / "cases").read_text()):
    torch.set_num_threads(2)
    encoder = load_encoder(toolkit, Path(source), "cpu", precision)
    torch.set_num_threads(2)  # as a user's code may do in between
    torch.save(encoder.embed(signals), folder / f"{toolkit}-{precision}")
"""
INSTALLED = [name for name in TOOLKITS if not missing_packages(name)]
PRECISIONS = ["fp32", *(["bf16"] if has_bf16("cpu") else [])]
SIGNALS = speech([48000, 16000, 80001])


@pytest.fixture(scope="module")
def sources(tmp_path_factory, demo_encoder) -> dict[str, Path]:
    """Where the encoders of all installed toolkits lie."""
    found = {"speechbrain": demo_encoder}
    if "espnet" in INSTALLED:
        found["espnet"] = make_espnet_encoder(tmp_path_factory.mktemp("espnet"))
    if "rawnet" in INSTALLED:
        found["rawnet"] = make_rawnet_checkpoint(tmp_path_factory.mktemp("rawnet") / "model.pt")
    if "resemblyzer" in INSTALLED:
        found["resemblyzer"] = local_path("resemblyzer")
    if "onnx" in INSTALLED and find_spec("onnx") and find_spec("kaldi_native_fbank"):
        from tests.support import onnx_graphs  # noqa: PLC0415

        path = tmp_path_factory.mktemp("onnx") / "model.onnx"
        network, metadata = onnx_graphs.CamPlusPlus(), onnx_graphs.WESPEAKER
        found["onnx"] = onnx_graphs.export(network, path, metadata=metadata)
    return found


@pytest.fixture(scope="module")
def expected(sources) -> dict[str, torch.Tensor]:
    return {
        toolkit: load_encoder(toolkit, source, "cpu", "fp32").embed(SIGNALS)
        for toolkit, source in sources.items()
    }


@pytest.mark.skipif(
    threads.prepack(torch.ones(2, 2)) is None, reason="this PyTorch has no prepacked products"
)
@pytest.mark.parametrize(("environment", "toolkits"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_embeddings_are_right_whatever_openmp_grants(
    tmp_path, sources, expected, environment, toolkits
):
    cases = [
        (name, str(source), precision)
        for name, source in sources.items()
        if name in toolkits
        for precision in PRECISIONS
        if precision in TOOLKITS[name].precisions
    ]
    (tmp_path / "cases").write_text(json.dumps(cases))
    torch.save(SIGNALS, tmp_path / "signals")
    others = {name: value for name, value in os.environ.items() if name[:4] != "OMP_"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=others | {"PYTHONPATH": str(REPOSITORY / "scripts")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # Otherwise the rest of this test would show nothing.
    assert "right without care: False" in result.stdout
    for toolkit, _, precision in cases:
        embeddings = torch.load(tmp_path / f"{toolkit}-{precision}")
        if precision == "fp32":
            assert_close(embeddings, expected[toolkit])
        else:
            assert torch.cosine_similarity(embeddings, expected[toolkit]).min() >= 0.9999
    n_lines = result.stdout.count(threads.__name__)
    assert n_lines == ("OMP_DYNAMIC" not in environment), result.stdout


@pytest.fixture
def fresh(monkeypatch):
    """Nothing is remembered from before, nor afterwards."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    caches = threads.are_products_right, threads.warn_once
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
    torch.set_num_threads(n_threads)


def test_products_that_are_never_right_refuse_the_encoder(fresh, demo_encoder, monkeypatch):
    linear = threads.functional.linear

    def wrong(x, weight):
        return linear(x, weight).index_fill_(0, torch.tensor([7]), torch.nan)

    monkeypatch.setattr(threads.functional, "linear", wrong)
    with pytest.raises(EncoderError, match=r"products in torch.float32 are wrong on this CPU"):
        load_encoder("speechbrain", demo_encoder, "cpu", "fp32")


def test_one_thread_for_a_while(fresh):
    with pytest.raises(ValueError, match="wrong"), threads.one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("wrong")
    assert torch.get_num_threads() == 2


def test_good_products_keep_their_threads(fresh, caplog):
    for _ in range(2):
        threads.use_safe_threads(torch.float32)
    assert (torch.get_num_threads(), caplog.text) == (2, "")
