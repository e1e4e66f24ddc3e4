"""Names that would be commands, options, patterns or formats if anything took them for such."""

import shutil

import pytest
import torch

pytestmark = pytest.mark.integration

NAMES = [
    "two words",
    "-rf",
    "$(touch sprung)",
    "`touch sprung`",
    "it's \"%s %d %(x)s",
    "{split} {} {{0}}",
    "日本語 ünd \u202e",
    "; touch sprung & | > * ? \\ # ~ !",
]


def test_names_of_all_kinds_reach_no_shell_and_no_format(checkout, reference):
    lines = checkout.manifest.read_text(encoding="utf-8").splitlines()
    rows = []
    for line, name in zip(lines, NAMES, strict=True):
        utt_id, wav_path, _, _ = line.split("\t")
        suffix = wav_path.removeprefix(utt_id)
        (checkout.corpus / wav_path).rename(checkout.corpus / f"{name}{suffix}")
        rows.append(f"{name}\t{name}{suffix}\t{name}\t{name}\n")
    odd = 'it\'s a "dir" %s $(touch sprung) `touch sprung` ;&#~ ü'
    folder = checkout.root / odd
    checkout.corpus.rename(folder)
    (folder / f"{odd}.tsv").write_text("".join(rows), encoding="utf-8")
    shutil.copytree(checkout.root / "config" / "demo" / "encoder", folder / f"encoder {odd}")
    checkout.xvector |= {
        "pretrained_model": f"{odd}/encoder {odd}",
        "manifest_paths": {"train": f"{odd}/{odd}.tsv"},
        "save_path": f"out {odd}",
        "spk_embed_tag": f"tag {odd}",
        "exports": ["safetensors", "parquet"],
        "speaker_means": True,
        "report": True,
    }
    checkout.run_well()
    assert "Nothing to be done" in checkout.run_well()
    assert not list(checkout.root.rglob("sprung"))
    out = checkout.root / f"out {odd}" / f"tag {odd}"
    table = (out / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split("\t")[0] for row in table] == NAMES
    for name in NAMES:
        (audio,) = (path for path in folder.iterdir() if path.stem == name)
        reference.assert_same(torch.load(out / "train" / f"{name}.pt", weights_only=True), audio)
