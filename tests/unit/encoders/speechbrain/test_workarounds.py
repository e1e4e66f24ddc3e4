import pytest

from xvectors.encoders.speechbrain.workarounds import local_overrides, numbered_device


@pytest.mark.parametrize(
    ("hyperparams", "has_path"),
    [("pretrained_path: speechbrain/x\nn_mels: 80\n", True), ("n_mels: 80\n", False)],
)
def test_a_downloaded_encoder_loads_from_its_own_folder(tmp_path, hyperparams, has_path):
    (tmp_path / "hyperparams.yaml").write_text(hyperparams)
    expected = {"pretrained_path": str(tmp_path)} if has_path else {}
    assert local_overrides(tmp_path) == expected


def test_a_gpu_gets_a_number():
    assert [numbered_device(name) for name in ("cpu", "cuda", "cuda:1")] == [
        "cpu",
        "cuda:0",
        "cuda:1",
    ]
