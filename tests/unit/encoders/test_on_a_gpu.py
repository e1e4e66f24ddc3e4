"""What a GPU is given to do, on one that is not there, see `tests.support.fake_gpu`."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization

from tests.support.fake_gpu import GPU, fake_gpu, to_gpu
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Signal
from xvectors.audio.strip import lay_on_strip
from xvectors.config.toolkits import missing_packages
from xvectors.encoders import device
from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.device import Uploads, copy_to_cpu
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.speechbrain.chunked_ecapa import GPU_CHUNK_FRAMES, Chunking
from xvectors.encoders.speechbrain.encoder import GPU_FRAMES, SpeechBrainEncoder
from xvectors.encoders.speechbrain.features import Features
from xvectors.encoders.speechbrain.ragged_ecapa import RaggedEcapa

# Operations of a pack of this ECAPA-TDNN, however many utterances it has. A usual one takes 261.
MOST_LAUNCHES = 210


@pytest.fixture
def noted(monkeypatch):
    # In inference mode PyTorch would not tell of the parts of operations.
    with fake_gpu(monkeypatch) as noted, torch.no_grad():
        yield noted


def embed(encoder: Encoder, seconds, rate=24000) -> torch.Tensor:
    """Embed as `Encoder.embed` does what was copied to the GPU."""
    signals = [Signal(torch.empty(int(one * rate), device=GPU), rate) for one in seconds]
    return encoder.embed_on_device(encoder.normalizer.normalize_together(signals))


def ecapa(precision="fp32") -> SpeechBrainEncoder:
    encoder = bare(SpeechBrainEncoder, precision)
    model = to_gpu(ECAPA_TDNN(80, channels=[32] * 4 + [96], lin_neurons=24, res2net_scale=4))
    modules = {
        "embedding_model": model,
        "compute_features": to_gpu(Fbank(n_mels=80)),
        "mean_var_norm": InputNormalization(norm_type="sentence", std_norm=False),
    }
    encoder.classifier = SimpleNamespace(mods=modules)
    encoder.hop_length = 160
    encoder.features = Features(modules, GPU)
    encoder.ragged = RaggedEcapa(
        model, torch.bfloat16 if precision == "bf16" else torch.float32, True
    )
    encoder.budget = BatchBudget(GPU_FRAMES, GPU, GPU_FRAMES)
    encoder.chunking = Chunking(GPU_CHUNK_FRAMES, is_even=True)
    return encoder


def bare(kind: type[Encoder], precision: str) -> Encoder:
    """Make an encoder without loading it."""
    encoder = kind.__new__(kind)
    encoder.device, encoder.precision = GPU, precision
    encoder.normalizer = Normalizer(kind.sample_rate, GPU)
    return encoder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_pack_takes_few_operations_however_many_utterances_it_has(noted, precision):
    encoder = ecapa(precision)
    embed(encoder, [1, 1.5])
    launches = []
    for n in (2, 100):
        noted.clear()
        assert embed(encoder, np.linspace(0.7, 4, n)).device == GPU
        launches.append(noted.n_launches)
        # Beside that of the samples.
        assert noted.n_copies == 2
    assert launches[1] == launches[0] <= MOST_LAUNCHES
    assert not noted.shapes["convolution"]


def test_there_are_few_shapes_in_a_shard_of_libritts(noted):
    features = ecapa().features
    dice = np.random.default_rng(0)
    seconds = np.sort(np.clip(dice.gamma(1.6, 3.5, 20_000), 0.3, 30))[::-1]
    ends = np.searchsorted(np.cumsum(seconds), np.arange(600, seconds.sum(), 600))
    packs = [pack for pack in np.split(seconds, ends) if len(pack)]
    assert len(packs) > 150
    sizes = [
        len(lay_on_strip(empty(pack, "meta"), features.blocks, few_sizes=True).samples)
        for pack in packs
    ]
    assert len(set(sizes)) < 8
    # Only these have shapes that a library prepares itself for.
    for pack in packs[:3]:
        features(empty(pack, GPU))
    assert not noted.shapes["convolution"]
    hop = features.blocks.step
    assert {n for _, n, _ in noted.shapes["spectrum"]} == {n // hop - 1 for n in sizes[:3]}


def empty(seconds, device) -> list[torch.Tensor]:
    return [torch.empty(int(16000 * one), device=device) for one in seconds]


def test_long_recordings_have_one_shape_and_are_copied_once(noted):
    encoder = ecapa()
    encoder.chunking = encoder.chunking._replace(n_own=2000)
    encoder.budget.longest = 100
    embed(encoder, [70], 16000)
    shapes = {kind: set(of_kind) for kind, of_kind in noted.shapes.items()}
    assert len(shapes["convolution"]) < 15
    assert len(shapes["spectrum"]) == 1
    noted.clear()
    embed(encoder, [85.07], 16000)
    assert noted.n_copies == 0
    assert noted.shapes == shapes


@pytest.mark.skipif(bool(missing_packages("rawnet")), reason="make rawnet")
def test_rawnet_copies_its_indices_at_once_and_has_few_shapes(noted):
    from xvectors.encoders.rawnet.encoder import RawNetEncoder  # noqa: PLC0415
    from xvectors.encoders.rawnet.network import RawNet3  # noqa: PLC0415

    encoder = bare(RawNetEncoder, "fp32")
    encoder.network = to_gpu(RawNet3(64, 48, 16))
    encoder.ragged = None
    encoder.budget = BatchBudget(10**6, GPU)
    launches = []
    embed(encoder, [1])
    for n in (2, 12):
        noted.clear()
        assert embed(encoder, np.linspace(0.5, 9, n)).device == GPU
        assert noted.n_copies == 1
        assert {shape[0] % 10 for shape in noted.shapes["convolution"]} == {0}
        launches.append(noted.n_launches)
    # The features of each signal are computed alone, as in the recipe.
    assert launches[1] - launches[0] <= 10 * 60


class Log(list):
    """What became of streams and events."""

    def stream(self, name):
        return SimpleNamespace(
            name=name, wait_event=lambda event: self.append(f"{name} waits for {event.name}")
        )

    def event(self, **_):
        event = SimpleNamespace(name=f"event {sum('records' in one for one in self)}")
        event.record = lambda stream: self.append(f"{stream.name} records {event.name}")
        event.synchronize = lambda: self.append(f"the processor waits for {event.name}")
        return event


class LoggedLock:
    def __init__(self, log):
        self.log = log

    def __enter__(self):
        self.log.append("lock")

    def __exit__(self, *_):
        self.log.append("unlock")


class Sum(Encoder):
    """Embeds on the CPU, and believes that it is a GPU."""

    sample_rate = 16000

    def embed_on_device(self, signals):
        self.log.append("embeds")
        return torch.stack([signal.sum()[None] for signal in signals])


@pytest.fixture
def on_streams(monkeypatch):
    """An encoder on a GPU whose streams and events only tell what becomes of them."""
    log = Log()
    streams = iter(["copies"])
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "Stream", lambda _: log.stream(next(streams)))
        patch.setattr(torch.cuda, "Event", log.event)
        patch.setattr(torch.cuda, "stream", lambda stream: LoggedContext(log, stream.name))
        patch.setattr(torch.cuda, "current_stream", lambda _: log.stream("work"))
        patch.setattr(torch.Tensor, "record_stream", lambda *_: log.append("memory is kept"))
        empty = torch.empty
        patch.setattr(torch, "empty", lambda n, pin_memory=False: empty(n))
        move = torch.Tensor.to

        def to(tensor, place, *_, **options):
            if isinstance(place, torch.device | str):
                log.append(f"to {place}{' without waiting' if options else ''}")
                return tensor
            return move(tensor, place)

        patch.setattr(torch.Tensor, "to", to)
        encoder = Sum.__new__(Sum)
        encoder.device, encoder.precision, encoder.log = GPU, "fp32", log
        encoder.normalizer = Normalizer(16000)
        encoder._uploads = Uploads(GPU)
        patch.setattr("xvectors.encoders.encoder._submitting", LoggedLock(log))
        yield encoder


class LoggedContext(LoggedLock):
    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        self.log.append(f"on {self.name}")

    def __exit__(self, *_):
        self.log.append(f"off {self.name}")


def test_copies_go_beside_the_work_and_nobody_waits_with_the_lock(on_streams):
    found = on_streams.embed([torch.ones(3), torch.full((2,), 2.0)])
    assert found.tolist() == [[3], [4]]
    assert on_streams.log == [
        "on copies",
        "to cuda:0 without waiting",
        "copies records event 0",
        "off copies",
        "lock",
        "work waits for event 0",
        "memory is kept",
        "embeds",
        "to cpu without waiting",
        "work records event 1",
        "unlock",
        "the processor waits for event 1",
    ]


def test_what_is_on_the_gpu_is_not_copied(on_streams):
    there = [SimpleNamespace(device=GPU)]
    assert on_streams._uploads.start(there)() == there
    assert on_streams.log == []


@pytest.mark.parametrize(
    "message",
    ["CUDA error: out of memory", "OS call failed or operation not supported on this OS"],
)
def test_without_pinned_memory_copies_wait(monkeypatch, message):
    def fail(*_, **options):
        if options:
            raise torch.AcceleratorError(message)
        return "waited"

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda n, **options: fail(**options) and empty(n))
    assert device._join([torch.ones(2), torch.zeros(1)]).tolist() == [1, 1, 0]
    assert copy_to_cpu(SimpleNamespace(to=fail, cpu=fail)) == "waited"
    message = "CUDA error: an illegal memory access"
    with pytest.raises(torch.AcceleratorError, match="illegal"):
        device._join([torch.ones(2)])
    with pytest.raises(torch.AcceleratorError, match="illegal"):
        copy_to_cpu(SimpleNamespace(to=fail, cpu=fail))
