import pytest
import torch

from xvectors import (
    BaseRunner,
    XVectorRunner,
)


def test_what_is_no_embedding_is_no_sound_output(tmp_path):
    path = tmp_path / "a.pt"
    for tensor in (torch.ones(5, 7), torch.ones(5).double(), torch.full((5,), float("nan"))):
        torch.save(tensor, path)
        with pytest.raises(ValueError, match="holds"):
            XVectorRunner.check_output(path)
    torch.save(torch.ones(5), path)
    XVectorRunner.check_output(path)


def test_a_runner_of_ones_own_may_leave_any_tensor(tmp_path):
    path = tmp_path / "a.pt"
    for tensor in (torch.full((2, 3), -float("inf")), torch.tensor(7), torch.tensor(True)):
        torch.save(tensor, path)
        BaseRunner.check_output(path)
    torch.save([1.0], path)
    with pytest.raises(ValueError, match="holds no tensor"):
        BaseRunner.check_output(path)
