"""Small speaker encoders with random weights as ONNX graphs, and the projects' own steps."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

BINS = 80
DIM = 24
# As sherpa-onnx writes them into WeSpeaker's and 3D-Speaker's graphs.
WESPEAKER = {"framework": "wespeaker", "sample_rate": "16000", "normalize_samples": "0"}
SPEAKER_3D = {
    "framework": "3d-speaker",
    "sample_rate": "16000",
    "normalize_samples": "1",
    "feature_normalize_type": "global-mean",
}
NEMO = {
    "framework": "nemo",
    "sample_rate": "16000",
    "feature_normalize_type": "per_feature",
    "window_size_ms": "25",
    "window_stride_ms": "10",
    "window_type": "hann",
    "feat_dim": "80",
}


def statistics(x: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation over time, (batch, 2 * channels), of (batch, channels, time)."""
    mean = x.mean(-1)
    variance = (x - mean[..., None]).square().mean(-1)
    return torch.cat([mean, (variance + 1e-7).sqrt()], 1)


class CamPlusPlus(nn.Module):
    """What CAM++ is made of: dilated convolutions along time, masked by context, statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BINS, 32, 5, stride=2, padding=2)
        self.second = nn.Conv1d(32, 32, 3, dilation=2, padding=2)
        self.context = nn.Conv1d(32, 32, 1)
        self.norm = nn.BatchNorm1d(32)
        self.last = nn.Linear(64, DIM)

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(feats.transpose(1, 2)))
        x = functional.relu(self.norm(self.second(x)))
        x = x * torch.sigmoid(self.context(x.mean(-1, keepdim=True)))
        return self.last(statistics(x))


class ResNet(nn.Module):
    """What ResNets are made of: two-dimensional convolutions, residuals, statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.last = nn.Linear(8 * (BINS // 2) * 2, DIM)

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.first(feats.transpose(1, 2)[:, None])))
        x = functional.relu(x + self.second(x))
        x = functional.relu(self.down(x))
        return self.last(statistics(x.flatten(1, 2)))


class Titanet(nn.Module):
    """What TitaNet is made of: bins before frames, a mask of the lengths, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BINS, 32, 3, padding=1)
        self.last = nn.Linear(64, DIM)
        self.classes = nn.Linear(DIM, 7)

    def forward(
        self, audio_signal: torch.Tensor, length: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.arange(audio_signal.shape[2])[None, None] < length[:, None, None]
        x = functional.relu(self.first(audio_signal)) * mask
        mean = x.sum(-1) / length[:, None]
        deviation = ((x - mean[..., None]).square() * mask).sum(-1) / length[:, None]
        embs = self.last(torch.cat([mean, (deviation + 1e-7).sqrt()], 1))
        return self.classes(embs), embs


class Waveform(nn.Module):
    """Convolutions over samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 32, 400, stride=160)
        self.last = nn.Linear(64, DIM)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        return self.last(statistics(functional.relu(self.first(wav[:, None]))))


class Companions(nn.Module):
    """No encoder should be like this: it subtracts the mean over the batch."""

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        found = statistics(feats.transpose(1, 2))
        return found - found.mean(0) / 2


def export(
    network: nn.Module,
    path: Path,
    opset: int = 14,
    metadata: Mapping[str, str] | None = None,
    *,
    names: tuple[Sequence[str], Sequence[str]] = (["feats"], ["embs"]),
    is_batch_fixed: bool = False,
) -> Path:
    """Write a network with random weights as a graph; return its path."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.named_parameters():
        # As wide as keeps the values' size from layer to layer.
        width = value[0].numel() ** -0.5 if value.dim() > 1 else 0.1
        value.data.normal_(1 if "norm.weight" in name else 0, width, generator=generator)
    inputs, outputs = names
    arguments: tuple[torch.Tensor, ...] = (torch.randn(1, 200, BINS, generator=generator),)
    time = 1
    if isinstance(network, Titanet):
        arguments, time = (arguments[0].transpose(1, 2), torch.tensor([200])), 2
    elif isinstance(network, Waveform):
        arguments = (torch.randn(1, 16000, generator=generator),)
    axes = {inputs[0]: {time: "T"} if is_batch_fixed else {0: "B", time: "T"}}
    if not is_batch_fixed:
        axes |= {name: {0: "B"} for name in (*inputs[1:], *outputs)}
    write_graph(network, arguments, path, names, axes, opset=opset)
    if metadata:
        add_metadata(path, metadata)
    return path


def write_graph(
    network: nn.Module,
    arguments: tuple[torch.Tensor, ...],
    path: Path,
    names: tuple[Sequence[str], Sequence[str]],
    axes: Mapping[str, Mapping[int, str]],
    *,
    opset: int = 14,
) -> None:
    """Write a network as a graph with names of inputs and outputs, `axes` of any length."""
    with warnings.catch_warnings():
        # This exporter writes old opsets, and warns of its age and of sizes that it fixes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            arguments,
            path,
            dynamo=False,
            opset_version=opset,
            input_names=list(names[0]),
            output_names=list(names[1]),
            dynamic_axes=axes,
        )


def export_titanet(path: Path, opset: int = 14, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a graph with NeMo's inputs and outputs; return its path."""
    names = (["audio_signal", "length"], ["logits", "embs"])
    return export(Titanet(), path, opset, metadata, names=names)


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Write entries into a graph's metadata."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def kaldi_features(
    signal: np.ndarray, window: str = "povey", scale: float = 1, *, subtract_mean: bool = True
) -> np.ndarray:
    """Return the filter bank that kaldi-native-fbank computes of a signal, (frames, 80)."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = BINS
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16000, (signal * scale).tolist())
    bank.input_finished()
    found = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    return found - found.mean(0) if subtract_mean else found


def nemo_features(signal: np.ndarray) -> tuple[np.ndarray, int]:
    """Return NeMo's features, (80, frames), and the number of frames that are not padding."""
    import librosa  # noqa: PLC0415

    emphasized = np.append(signal[:1], signal[1:] - np.float32(0.97) * signal[:-1])
    window = np.zeros(512)
    window[56:456] = np.hanning(400)
    padded = np.pad(emphasized, 256)
    n_frames = len(signal) // 160
    frames = np.stack([padded[160 * i : 160 * i + 512] for i in range(n_frames)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    filters = librosa.filters.mel(sr=16000, n_fft=512, n_mels=BINS)
    mels = np.log(filters @ power.T + 2.0**-24)
    mels -= mels.mean(1, keepdims=True)
    mels /= mels.std(1, ddof=1, keepdims=True) + 1e-5
    return np.pad(mels, ((0, 0), (0, -(n_frames + 1) % 16 + 1))).astype(np.float32), n_frames


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def embed_alone(path: Path, frontend: str, signals: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the embeddings of signals by a project's steps, one at a time, (signals, dim)."""
    runtime = session(path)
    names = [one.name for one in runtime.get_inputs()]
    rows = []
    for signal in map(torch.Tensor.numpy, signals):
        if frontend == "nemo":
            features, n_frames = nemo_features(signal)
            feed = {names[0]: features[None], names[1]: np.array([n_frames])}
            rows.append(runtime.run(["embs"], feed)[0][0])
            continue
        features = {
            "wespeaker": lambda one: kaldi_features(one, "hamming", 32768),
            "3dspeaker": kaldi_features,
            "cosyvoice": kaldi_features,
            "gpt-sovits": lambda one: kaldi_features(one, subtract_mean=False),
            "raw": lambda one: one,
        }[frontend](signal)
        rows.append(runtime.run(None, {names[0]: features[None]})[0][0])
    return torch.from_numpy(np.stack(rows))
