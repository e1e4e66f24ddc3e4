"""Small encoders of transformers with random weights, in the layout of the hub."""

from pathlib import Path

import torch
import transformers

DIM = 24
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "tdnn_dim": (32, 32, 32, 32, 48),
    "xvector_output_dim": DIM,
    "num_labels": 7,
}
# Published models of each kind differ in these.
WAYS = {
    "WavLM": {},
    "UniSpeechSat": {"feat_extract_norm": "layer", "conv_bias": True},
    "Wav2Vec2": {"do_stable_layer_norm": True, "use_weighted_layer_sum": True},
}


def make_encoder(
    folder: Path, kind: str = "WavLM", *, do_normalize: bool = False, is_safe: bool = True
) -> Path:
    """Write configuration, preprocessor and weights; return the folder."""
    torch.manual_seed(0)  # of what is not set below: biases
    config = getattr(transformers, f"{kind}Config")(**SMALL, **WAYS[kind])
    model = getattr(transformers, f"{kind}ForXVector")(config)
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        # As wide as keeps the values' size from layer to layer.
        if value.dim() > 1:
            value.data.normal_(0, value[0].numel() ** -0.5, generator=generator)
    model.save_pretrained(folder, safe_serialization=is_safe)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    extractor.save_pretrained(folder)
    return folder


def embed_alone(folder: Path, signals: list[torch.Tensor]) -> torch.Tensor:
    """Return what transformers itself gives for signals, one at a time, (signals, dim)."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModelForAudioXVector.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for signal in signals:
            inputs = extractor(signal.numpy(), sampling_rate=16000, return_tensors="pt")
            rows.append(model(input_values=inputs["input_values"]).embeddings[0])
    return torch.stack(rows)
