import pytest
import torch
from safetensors.torch import save_file

from tests.support.toolkit_models import Trap
from xvectors.encoders.checkpoints import load_weights, read_checkpoint, read_safetensors
from xvectors.errors import EncoderError


def test_weights_come_back_by_name(tmp_path):
    network = torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = torch.nn.Linear(3, 2)
    load_weights(other, read_checkpoint(tmp_path / "model.pt"), tmp_path / "model.pt")
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(other.bias, network.bias)


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_what_is_no_checkpoint_is_a_one_line_error(tmp_path, content):
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EncoderError, match=r"model\.pt: cannot be read as weights") as error:
        read_checkpoint(path)
    assert len(str(error.value).splitlines()) == 1


def test_code_is_not_run(tmp_path):
    torch.save({"trap": Trap(tmp_path / "sprung")}, tmp_path / "model.pt")
    with pytest.raises(EncoderError, match="which are refused because they may run code"):
        read_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_bare_tensor_is_no_checkpoint(tmp_path):
    torch.save(torch.ones(3), tmp_path / "model.pt")
    with pytest.raises(EncoderError, match="holds a Tensor, not weights by name"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"weight": torch.ones(2, 3), "bias": torch.ones(3)},
        {"weight": torch.ones(2, 3), "bias": "text"},
        {"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)},
        {f"a_rather_long_name_{i}": torch.ones(1) for i in range(100)},
    ],
)
def test_other_weights_are_one_short_line(tmp_path, weights):
    with pytest.raises(EncoderError) as error:
        load_weights(torch.nn.Linear(3, 2), weights, tmp_path / "model.pt")
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/model.pt: not the weights of this network: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 500


def test_tensors_of_a_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.arange(3.0)}, path)
    assert torch.equal(read_safetensors(path)["weight"], torch.arange(3.0))
    for content in (path.read_bytes()[:-1], b"", b"rubbish"):
        path.write_bytes(content)
        with pytest.raises(EncoderError, match=r"safetensors: cannot be read as weights") as error:
            read_safetensors(path)
        assert len(str(error.value).splitlines()) == 1
