"""The dense neck: sums of projected maps against its parts, strides, and what it refuses."""

import pytest
import torch
from scipy.ndimage import zoom

from hybridvit.layers.dense import DenseNeck, enlarge

CHANNELS = {2: 3, 4: 5, 8: 7}


def maps(b=2, h=40, w=56, channels=CHANNELS):
    return {s: torch.randn(b, c, -(-h // s), -(-w // s)) for s, c in channels.items()}


def test_result_is_the_sum_of_projections_then_conv_norm_and_gelu(randomise):
    neck = randomise(DenseNeck(CHANNELS, width=11, stride=4))
    given = maps()
    total = torch.einsum("oc,bchw->bohw", neck.project["4"].weight[:, :, 0, 0], given[4])
    total = total + neck.project["4"].bias[:, None, None]
    coarse = torch.einsum("oc,bchw->bohw", neck.project["8"].weight[:, :, 0, 0], given[8])
    coarse = coarse + neck.project["8"].bias[:, None, None]
    total = total + enlarge(coarse, (10, 14))
    x = torch.nn.functional.pad(total, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    x = torch.einsum("bihwyx,oiyx->bhwo", x, neck.conv.weight)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + neck.norm.eps).sqrt()
    x = x * neck.norm.weight + neck.norm.bias
    expected = x * (1 + torch.erf(x / 2**0.5)) / 2
    torch.testing.assert_close(neck(given), expected.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_enlarged_maps_keep_their_place():
    x = torch.randn(1, 1, 3, 5, dtype=torch.float64)
    expected = zoom(x[0, 0].numpy(), 4, order=1, mode="nearest", grid_mode=True)
    torch.testing.assert_close(enlarge(x, (12, 20))[0, 0], torch.from_numpy(expected))
    assert enlarge(x, (3, 5)) is x


@pytest.mark.parametrize(
    ("channels", "stride", "chosen", "used"),
    [
        (CHANNELS, None, 4, [4, 8]),
        ({1: 3, 2: 5}, None, 1, [1, 2]),
        ({1: 13}, None, 1, [1]),
        ({16: 5}, None, 16, [16]),
        ({16: 5}, 4, 4, [16]),
        ({2: 3, 14: 5}, 4, 4, [14]),
        (CHANNELS, 1, 1, [2, 4, 8]),
    ],
)
def test_stride_and_maps_are_chosen(channels, stride, chosen, used):
    neck = DenseNeck(channels, width=11, stride=stride)
    assert (neck.stride, neck.strides) == (chosen, used)
    assert sorted(neck.project) == sorted(map(str, used))
    given = maps(h=112, w=224, channels=channels)
    assert neck(given).shape == (2, 11, 112 // chosen, 224 // chosen)


def test_odd_maps_are_brought_to_the_finest_one():
    neck = DenseNeck(CHANNELS, width=11, stride=2)
    assert neck(maps(h=37, w=53)).shape == (2, 11, 19, 27)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="this backbone gives no feature maps"):
        DenseNeck({})
    for stride in (16, 0):
        with pytest.raises(ValueError, match=rf"stride must lie in 1 .. 8 for maps of stride 2, 4, 8, given {stride}"):
            DenseNeck(CHANNELS, stride=stride)
    with pytest.raises(ValueError, match="width must be at least 1, given 0"):
        DenseNeck(CHANNELS, width=0)
