"""mixup and CutMix against torchvision with the same parameters; their draws against scipy."""

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from hybridvit.data.augment.mixing import beta, covered, mix
from hybridvit.data.augment.transforms import AugmentConfig

B, C, H, W = 5, 3, 11, 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed(b=B, size=(H, W), seed=0, **config):
    images = torch.randn(b, C, *size)
    found, how = mix(images, AugmentConfig(**config), generator(seed))
    return images, found, how


def test_mixup_equals_torchvision_with_the_same_share():
    images, found, how = mixed(mixup=0.7)
    peer = v2.MixUp(num_classes=3)
    for i in range(B):
        pair = torch.stack([images[i], images[how.partner[i]]])  # torchvision mixes each with the one before it
        expected = peer.transform(pair, {"lam": float(how.share[i]), "labels": None, "batch_size": 2})[0]
        torch.testing.assert_close(found[i], expected, rtol=1e-5, atol=1e-6)
    assert (how.share != 1).all()


@pytest.mark.parametrize("size", [(H, W), (32, 32), (1, 13)])
def test_boxes_and_shares_equal_torchvisions_for_the_same_draws(size):
    peer, images = v2.CutMix(num_classes=3), torch.randn(2, C, *size)
    cut_at_an_edge = 0
    for seed in range(60):
        torch.manual_seed(seed)
        params = peer.make_params([images])
        torch.manual_seed(seed)  # the same draws once more, in its order
        share = peer._dist.sample(()).double()
        column, row = (torch.randint(length, (1,)) for length in (size[1], size[0]))
        rows, columns = (covered(share.view(1), *axis) for axis in zip((row, column), size, strict=True))
        inside = rows[0, :, None] & columns[0]
        assert inside.shape == size
        assert 1 - float(inside.double().mean()) == pytest.approx(params["lam_adjusted"], abs=1e-6)
        expected = peer.transform(images, {**params, "labels": None, "batch_size": 2})
        assert torch.equal(torch.where(inside, images[1], images[0]), expected[0])
        cut_at_an_edge += 0 in params["box"][:2] or params["box"][2:] == (size[1], size[0])
    assert cut_at_an_edge > 15


def test_cutmix_pastes_one_box_and_says_what_is_left():
    images, found, how = mixed(b=97, cutmix=1.0)
    partners = images[how.partner]
    own, other = (found == images).all(1), (found == partners).all(1)
    assert (own | other).all()
    for i in range(97):
        if how.partner[i] == i:
            continue
        pasted = ~own[i]
        assert float(how.share[i]) == pytest.approx(1 - float(pasted.float().mean()), abs=1e-6)
        if pasted.any():
            rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
            whole = torch.zeros_like(pasted)
            whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
            assert torch.equal(pasted, whole)
    assert len(how.share.unique()) > 20  # its own box for each sample


def test_cut_shares_are_distributed_as_torchvisions():
    peer, images = v2.CutMix(alpha=1.5, num_classes=3), torch.randn(2, 1, 9, 14)
    expected = [round(126 * peer.make_params([images])["lam_adjusted"]) for _ in range(1500)]  # in pixels
    cut, blended = (mixed(b=1500, size=(9, 14), **{kind: 1.5})[2].share * 126 for kind in ("cutmix", "mixup"))
    assert stats.ks_2samp(cut.round(), expected).pvalue > 1e-3
    assert stats.ks_2samp(blended.round(), expected).pvalue < 1e-3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha):
    drawn = beta(torch.full((4000,), alpha), generator())
    assert drawn.dtype == torch.float64
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(drawn, stats.beta(alpha * 1.3, alpha * 1.3).cdf).pvalue < 1e-3


def test_the_smallest_alphas_give_shares_too():
    share = mixed(b=997, size=(1, 1), mixup=1e-3)[2].share
    assert share.dtype == torch.float32
    assert ((share >= 0) & (share <= 1)).all()


def test_alphas_go_sample_by_sample():
    alpha = torch.where(torch.arange(6000) % 3 == 0, 0.2, 5.0)
    drawn = beta(alpha, generator())
    assert stats.kstest(drawn[::3], stats.beta(0.2, 0.2).cdf).pvalue > 1e-3
    assert stats.kstest(drawn[1::3], stats.beta(5, 5).cdf).pvalue > 1e-3


def test_the_partners_are_a_permutation_at_random():
    for config in ({"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}):
        how = mixed(b=61, **config)[2]
        assert how.partner.dtype == torch.int64
        assert sorted(how.partner.tolist()) == list(range(61))
        assert (how.partner == torch.arange(61)).sum() < 8
        assert not torch.equal(how.partner, mixed(b=61, seed=1, **config)[2].partner)


def test_so_many_samples_are_mixed_and_the_others_stay_as_they_were():
    images, found, how = mixed(b=1000, size=(3, 5), mixup=2.0, mix_probability=0.3)
    alone = how.share == 1
    assert 240 < (~alone).sum() < 360
    assert torch.equal(found[alone], images[alone])
    assert ((found == images).flatten(1).all(1) == (alone | (how.partner == torch.arange(1000)))).all()


def test_where_both_are_set_each_sample_takes_one_of_them():
    images, found, how = mixed(b=1000, size=(9, 8), mixup=5.0, cutmix=1.0)
    other = how.partner != torch.arange(1000)
    blend = torch.lerp(images[how.partner], images, how.share[:, None, None, None])
    by_mixup = torch.isclose(found, blend, atol=1e-5).flatten(1).all(1)
    pasted = ((found == images) | (found == images[how.partner])).flatten(1).all(1)
    assert (by_mixup | pasted).all()
    assert 400 < (pasted & other).sum() < 600
    assert 400 < (by_mixup & ~pasted).sum() < 600
    shares = how.share[by_mixup & ~pasted]
    assert stats.kstest(shares.double(), stats.beta(5, 5).cdf).pvalue > 1e-3  # its own alpha


def test_mixing_is_a_function_of_the_generator_and_leaves_its_input_alone():
    images, config = torch.randn(B, C, H, W), AugmentConfig(mixup=0.8, cutmix=1.0, mix_probability=0.9)
    copy, state = images.clone(), torch.get_rng_state()
    first, how = mix(images, config, generator(3))
    again, same = mix(images, config, generator(3))
    assert torch.equal(first, again)
    assert torch.equal(how.share, same.share)
    assert not torch.equal(first, mix(images, config, generator(4))[0])
    assert torch.equal(images, copy)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_images_are_mixed_too():
    images = torch.randn(B, C, H, W).bfloat16()
    found, how = mix(images, AugmentConfig(mixup=1.0, cutmix=1.0), generator())
    assert found.dtype == torch.bfloat16
    assert how.share.dtype == torch.float32
