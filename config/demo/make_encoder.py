"""Write the demo's encoder: a small ECAPA-TDNN with seeded random weights.

The folder has exactly the layout of ``speechbrain/spkrec-ecapa-voxceleb`` on the Hugging
Face hub. Random weights tell voices apart a little, by their spectrum alone: good enough to
see the workflow run, not to be used.

Run it as ``python config/demo/make_encoder.py``.
"""

from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml

ENCODER = Path(__file__).resolve().parent / "encoder"
SPEAKERS = tuple(f"speaker{number:02d}" for number in range(16))

HYPERPARAMS = f"""\
# A small ECAPA-TDNN with random weights, for the demo: see ../make_encoder.py.

# Feature parameters
n_mels: 80

# Folder of the parameters below
pretrained_path: config/demo/encoder

# Output parameters
out_n_neurons: {len(SPEAKERS)}

# Model params
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>

mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False

embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [64, 64, 64, 64, 192]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 32
    se_channels: 32
    lin_neurons: 192

classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 192
    out_neurons: !ref <out_n_neurons>

mean_var_norm_emb: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False

modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    mean_var_norm_emb: !ref <mean_var_norm_emb>
    classifier: !ref <classifier>

label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        mean_var_norm_emb: !ref <mean_var_norm_emb>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        mean_var_norm_emb: !ref <pretrained_path>/mean_var_norm_emb.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""


def main(folder: Path = ENCODER, seed: int = 1234, hyperparams: str = HYPERPARAMS) -> None:
    """Write the encoder's five files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(hyperparams, encoding="utf-8")
    torch.manual_seed(seed)
    modules = load_hyperpyyaml(hyperparams)
    embedding_model = modules["embedding_model"]
    for name, buffer in embedding_model.named_buffers():
        # Statistics as a trained BatchNorm has them, so that it does more than pass on.
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    torch.save(embedding_model.state_dict(), folder / "embedding_model.ckpt")
    torch.save(modules["classifier"].state_dict(), folder / "classifier.ckpt")
    normalizer = modules["mean_var_norm_emb"]
    normalizer(torch.randn(32, 1, 192), torch.ones(32))
    normalizer._save(folder / "mean_var_norm_emb.ckpt")
    label_encoder = modules["label_encoder"]
    label_encoder.update_from_iterable(SPEAKERS)
    label_encoder.save(folder / "label_encoder.txt")


if __name__ == "__main__":
    main()
