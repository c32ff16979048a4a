"""The tokens-to-token module against loops over windows and explicit n x n weights in float64."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch.utils._python_dispatch import TorchDispatchMode

from hybridvit.layers.tokenizers.t2t import T2TTokenizer, TokenPerformer

B, DIM = 2, 7
SIZES = [(32, 32), (23, 41), (16, 53), (3, 3)]


def as_array(tensor):
    return tensor.detach().double().numpy()


def linear(module, x):
    return x @ as_array(module.weight).T + (0 if module.bias is None else as_array(module.bias))


def layer_norm(module, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return normed * as_array(module.weight) + as_array(module.bias)


def split(image, side, stride, padding):
    """Windows of ``[c, h, w]``, flattened by channel, row, column: tokens ``[n, c·side²]`` and their grid."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    tops = range(0, padded.shape[1] - side + 1, stride)
    lefts = range(0, padded.shape[2] - side + 1, stride)
    tokens = [padded[:, top : top + side, left : left + side].ravel() for top in tops for left in lefts]
    return np.array(tokens), (len(tops), len(lefts))


def token_layer(stage, x):
    """One token layer on ``[n, in_dim]``, the weights of every pair of tokens written out."""
    q, k, v = np.split(linear(stage.qkv, layer_norm(stage.norm1, x)), 3, axis=1)
    scores = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            if isinstance(stage, TokenPerformer):
                w = as_array(stage.random_features)
                phi_q, phi_k = (np.exp(w @ t - t @ t / 2) / np.sqrt(len(w)) for t in (q[i], k[j]))
                scores[i, j] = phi_q @ phi_k
            else:
                scores[i, j] = np.exp(q[i] @ k[j] / np.sqrt(x.shape[1]))
    epsilon = 1e-8 if isinstance(stage, TokenPerformer) else 0
    weights = scores / (scores.sum(axis=1, keepdims=True) + epsilon)
    y = v + linear(stage.proj, weights @ v)
    hidden = linear(stage.feedforward.fc1, layer_norm(stage.norm2, y))
    return y + linear(stage.feedforward.fc2, hidden * 0.5 * (1 + erf(hidden / np.sqrt(2))))


def paper(tokenizer, image):
    """Tokens ``[n, dim]`` and grid of one image ``[c, h, w]``."""
    x, grid = split(image, 7, 4, 2)
    for stage in tokenizer.stages:
        x, grid = split(token_layer(stage, x).T.reshape(-1, *grid), 3, 2, 1)
    return linear(tokenizer.proj, x), grid


@pytest.mark.parametrize("inner", ["performer", "transformer"])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [1, 5])
def test_t2t_window_by_window(inner, height, width, channels, randomise):
    tokenizer = randomise(T2TTokenizer(channels, DIM, token_dim=6, inner=inner), scale=0.2)
    images = torch.randn(B, channels, height, width)
    tokens, grid = tokenizer(images)
    assert grid == tokenizer.grid(height, width)
    assert tokens.shape == (B, grid[0] * grid[1], DIM)
    for number, image in enumerate(as_array(images)):
        expected, expected_grid = paper(tokenizer, image)
        assert grid == expected_grid
        np.testing.assert_allclose(as_array(tokens)[number], expected, atol=1e-5)


@pytest.mark.parametrize("inner", ["performer", "transformer"])
def test_grid_of_usual_images_is_a_sixteenth(inner):
    tokenizer = T2TTokenizer(3, DIM, token_dim=4, inner=inner)
    assert tokenizer.stride == 16
    assert tokenizer.in_channels == 3
    for height, width in ((32, 64), (224, 224), (64, 384)):
        assert tokenizer.grid(height, width) == (height // 16, width // 16)


@pytest.mark.parametrize("inner", ["performer", "transformer"])
def test_names_and_shapes_are_fixed_for_converted_weights(inner):
    tokenizer = T2TTokenizer(3, 12, token_dim=8, inner=inner)
    shapes = {name: tuple(value.shape) for name, value in tokenizer.state_dict().items()}
    expected = {"proj.weight": (12, 72), "proj.bias": (12,)}
    for stage, width in (("stages.0", 147), ("stages.1", 72)):
        matrices = {"qkv": (24, width), "proj": (8, 8), "feedforward.fc1": (8, 8), "feedforward.fc2": (8, 8)}
        expected |= {f"{stage}.{name}.weight": shape for name, shape in matrices.items()}
        expected |= {f"{stage}.{name}.bias": shape[:1] for name, shape in matrices.items()}
        expected |= {f"{stage}.norm1.{name}": (width,) for name in ("weight", "bias")}
        expected |= {f"{stage}.norm2.{name}": (8,) for name in ("weight", "bias")}
        if inner == "performer":
            expected[f"{stage}.random_features"] = (4, 8)
        else:
            del expected[f"{stage}.qkv.bias"]
    assert shapes == expected
    assert not [name for name, _ in tokenizer.named_parameters() if "random_features" in name]


def test_random_features_are_orthogonal_of_length_root_m():
    features = TokenPerformer(11, 10).random_features
    torch.testing.assert_close(features @ features.T, 5 * torch.eye(5), rtol=0, atol=1e-5)


def test_performer_estimates_softmax_attention():
    stage = TokenPerformer(5, 4)
    qkv = torch.randn(1, 9, 12) * 0.4
    stage.random_features = torch.randn(200_000, 4)
    q, k, v = qkv.chunk(3, dim=-1)
    exact = (q @ k.transpose(1, 2)).softmax(dim=-1) @ v
    torch.testing.assert_close(stage.mix(qkv), exact, rtol=0, atol=0.005)
    assert exact.std() > 0.02


def test_performer_stays_in_fp32_under_autocast():
    stage = TokenPerformer(5, 16)
    with torch.no_grad():
        stage.qkv.weight.mul_(4)
    seen = []
    mix = stage.mix
    stage.mix = lambda qkv: seen.append((qkv, mix(qkv))) or seen[-1][1]
    with torch.autocast("cpu", torch.bfloat16):
        out = stage(torch.randn(2, 13, 5))
    qkv, mixed = seen[0]
    assert qkv.dtype == torch.bfloat16
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, mix(qkv.float()))
    assert out.isfinite().all()


@pytest.mark.parametrize("inner", ["performer", "transformer"])
def test_gradients_in_float64(inner):
    tokenizer = T2TTokenizer(1, 3, token_dim=2, inner=inner).double()
    images = torch.randn(1, 1, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tokenizer(x)[0], images)


class Largest(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("inner", ["performer", "transformer"])
def test_no_matrix_of_all_pairs_of_tokens(inner):
    tokenizer = T2TTokenizer(3, DIM, token_dim=8, inner=inner)
    with torch.no_grad(), Largest() as largest:
        tokens, grid = tokenizer(torch.randn(1, 3, 224, 224))
    assert grid == (14, 14)
    assert tokens.shape == (1, 196, DIM)
    assert 0 < largest.elements <= 56 * 56 * 147


def test_what_cannot_be_built_is_refused():
    with pytest.raises(
        ValueError, match="inner must be performer or transformer, given 'tranformer': did you mean transformer"
    ):
        T2TTokenizer(3, DIM, inner="tranformer")
    with pytest.raises(ValueError, match="token_dim must be at least 2, given 1"):
        T2TTokenizer(3, DIM, token_dim=1)
    with pytest.raises(
        ValueError, match=r"width of 2 leaves no room for a window of 7 .*: choose a width of 3 or more"
    ):
        T2TTokenizer(3, DIM, token_dim=4).grid(32, 2)
