"""What an augmentation may be asked for."""

import pytest

from hybridvit.data.augment.config import AugmentConfig


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"crop_padding": -1}, "crop_padding must be at least 0, given -1"),
        ({"crop_padding": 1, "crop_fill": "mirror"}, "crop_fill must be zero or reflect, given 'mirror'"),
        ({"crop_fill": "reflect"}, "crop_fill 'reflect' has no effect without crop_padding"),
        ({"policy": "auto"}, "policy must be none, trivial or rand, given 'auto'"),
        ({"policy": "rand", "rand_ops": 0}, "rand_ops must be at least 1, given 0"),
        ({"policy": "rand", "rand_magnitude": 31}, "rand_magnitude must be at most 30, given 31"),
        ({"policy": "trivial", "rand_ops": 3}, "need policy 'rand': they have no effect with 'trivial'"),
        ({"rand_magnitude": 5}, "need policy 'rand': they have no effect with 'none'"),
        ({"erasing": 1.5}, "erasing must be at most 1, given 1.5"),
        ({"erasing": float("nan")}, "erasing must be a finite number, given nan"),
        ({"cutout": -2}, "cutout must be at least 0, given -2"),
        ({"mixup": -0.1}, "mixup must be at least 0, given -0.1"),
        ({"cutmix": float("inf")}, "cutmix must be a finite number, given inf"),
        ({"mixup": 1.0, "mix_probability": 0.0}, "mix_probability must be above 0, given 0.0"),
        ({"mix_probability": 0.5}, "mix_probability 0.5 has no effect without mixup or cutmix"),
        ({"repeats": 0}, "repeats must be at least 1, given 0"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, error):
    with pytest.raises(ValueError, match=error):
        AugmentConfig(**fields)


def test_everything_at_once_is_allowed():
    config = AugmentConfig(
        crop_padding=4, crop_fill="reflect", flip=True, policy="rand", rand_ops=1, rand_magnitude=0, erasing=1.0,
        cutout=8, mixup=0.2, cutmix=1.0, mix_probability=0.5, repeats=2,
    )  # fmt: skip
    assert config != AugmentConfig()
