import pytest
import torch
from torch.nn import functional

from xvectors.encoders import prepacked
from xvectors.encoders.ragged import Layer, Product, lay_out

LENGTHS = (7, 30, 11, 1, 30)


@pytest.fixture(params=[False, True], ids=["ragged", "padded"])
def laid_out(request):
    """Utterances of several lengths, their layout and their matrix."""
    generator = torch.Generator().manual_seed(0)
    utterances = [torch.randn(n, 12, generator=generator) for n in LENGTHS]
    return utterances, *lay_out(utterances, padded=request.param)


def own_rows(batch, matrix):
    """Return the rows of each utterance, without padding."""
    starts = batch.lengths.cumsum(0) - batch.lengths
    if len(matrix) != sum(batch.lengths):
        starts = torch.arange(len(batch.lengths)) * int(batch.lengths.max())
    return [matrix[a : a + n] for a, n in zip(starts, batch.lengths, strict=True)]


def close(found, expected):
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("is_prepacked", [False, True])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (5, 1), (3, 4)])
def test_a_convolution_that_pads_with_zeros(
    laid_out, kernel_size, dilation, is_prepacked, monkeypatch
):
    monkeypatch.setattr(prepacked, "is_faster", lambda dtype: is_prepacked)
    utterances, batch, matrix = laid_out
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(
        12, 8, kernel_size, dilation=dilation, padding=kernel_size // 2 * dilation
    )
    product = Product(convolution, torch.float32, "zeros")
    with torch.inference_mode():
        expected = [convolution(one.T[None])[0].T for one in utterances]
        assert close(own_rows(batch, product(batch, matrix)), expected)


@pytest.mark.parametrize("lowest_weight", [-1.0, 0.1], ids=["some turn the sign", "none does"])
def test_a_layer_that_pads_by_reflection(laid_out, lowest_weight):
    utterances, batch, matrix = laid_out
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(12, 8, 3, dilation=2, bias=False)
    norm = torch.nn.BatchNorm1d(8).eval()
    norm.running_mean.uniform_(-1, 1)
    norm.weight.data.uniform_(lowest_weight, 1)
    norm.bias.data.uniform_(-1, 1)
    layer = Layer(convolution, norm, torch.float32, "reflect")
    with torch.inference_mode():
        found = own_rows(batch, layer(batch, matrix))
        for one, rows in zip(utterances, found, strict=True):
            if len(one) > 2:
                padded = functional.pad(one.T[None], (2, 2), "reflect")
                assert close([rows], norm(convolution(padded).relu())[0].mT[None])


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_product_is_added(laid_out, has_bias):
    _, batch, matrix = laid_out
    product = Product(torch.nn.Conv1d(12, 12, 1, bias=has_bias), torch.float32, "zeros")
    with torch.inference_mode():
        total = matrix.clone()
        product.add(batch, matrix, total)
        assert close([total], [matrix + product(batch, matrix)])


def test_max_pooling(laid_out):
    utterances, batch, matrix = laid_out
    with pytest.raises(ValueError, match="needs 5 frames"):
        batch.max_pool(matrix, 5)
    long = [one for one in utterances if len(one) >= 5]
    batch, matrix = lay_out(long, padded=len(matrix) != sum(LENGTHS))
    pooled, found = batch.max_pool(matrix, 5)
    expected = [functional.max_pool1d(one.T[None], 5)[0].T for one in long]
    assert pooled.lengths.tolist() == [1, 6, 2, 6]
    assert close(own_rows(pooled, found), expected)
    assert close(pooled.means(found), [one.mean(0) for one in expected])


def test_operations_on_whole_utterances(laid_out):
    utterances, batch, matrix = laid_out
    assert close(batch.means(matrix), [one.mean(0) for one in utterances])
    gates, addends = torch.rand(2, len(LENGTHS), 12)
    scaled = matrix.clone()
    batch.scale(scaled, gates, addends)
    pairs = list(zip(utterances, gates, addends, strict=True))
    assert close(own_rows(batch, scaled), [b + x * a for x, a, b in pairs])
    batch.gate(matrix, gates, matrix, out=scaled)
    assert close(own_rows(batch, scaled), [x + x * a for x, a, _ in pairs])
    batch.add(scaled, addends)
    assert close(own_rows(batch, scaled), [x + x * a + b for x, a, b in pairs])


@pytest.mark.parametrize("weighted", [False, True])
def test_moments(laid_out, weighted):
    utterances, batch, matrix = laid_out
    logits = matrix.flip(1) if weighted else None
    mean, variance = batch.moments(matrix.clone(), logits).unbind(1)
    for i, x in enumerate(utterances):
        weights = x.flip(1).softmax(0) if weighted else torch.full_like(x, 1 / len(x))
        expected = (weights * x).sum(0)
        assert close([mean[i]], [expected])
        assert close([variance[i]], [(weights * (x - expected) ** 2).sum(0)])
