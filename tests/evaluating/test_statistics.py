"""Ranks, intervals and paired tests beside SciPy's, and what they say where nothing differs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gradcam_hooks.evaluating.controls import BASELINES, baseline_maps, blurred
from gradcam_hooks.evaluating.statistics import bootstrap, differs, exceeds, holm, kendall, ranked
from tests.support.nets import gap_linear, images


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("higher", [True, False])
def test_ranks_are_scipys_for_either_direction(higher: bool) -> None:
    values = torch.randint(0, 4, (6, 9), generator=generator()).double()
    signed = -values.numpy() if higher else values.numpy()
    assert np.array_equal(ranked(values, higher=higher), stats.rankdata(signed, axis=0))


def test_no_value_is_the_worst_and_a_picture_without_any_does_not_count() -> None:
    values = torch.tensor([[0.1, torch.nan], [torch.nan, torch.nan], [0.9, torch.nan]])
    assert ranked(values, higher=False)[:, 0].tolist() == [1, 3, 2]
    assert ranked(values, higher=False)[:, 1].isnan().all()


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    values = torch.rand(2, 40, generator=generator(), dtype=torch.float64) ** 3
    low, high = bootstrap(values, generator(), rounds=4000)
    for row, ends in zip(values, zip(low, high, strict=True), strict=True):
        known = stats.bootstrap((row.numpy(),), np.mean, method="percentile", n_resamples=4000,
                                rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
        assert ends == pytest.approx((known.low, known.high), abs=0.01)
    assert bootstrap(values[:, :1], generator())[0].isnan().all()


@pytest.mark.parametrize("count", [7, 12])
def test_a_paired_test_is_the_exact_permutation_test(count: int) -> None:
    one, other = torch.randn(2, count, generator=generator(), dtype=torch.float64) + 0.2
    for side, found in [("greater", exceeds(one - other, generator())),
                        ("two-sided", differs(one, other, generator()))]:  # fmt: skip
        known = stats.permutation_test(
            (one.numpy(), other.numpy()), lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples", alternative=side, n_resamples=np.inf, vectorized=True,
        )  # fmt: skip
        assert found == pytest.approx(known.pvalue)


def test_of_many_pictures_flips_are_drawn_and_the_p_is_near_the_t_tests() -> None:
    apart = torch.randn(60, generator=generator(), dtype=torch.float64) + 0.25
    known = stats.ttest_1samp(apart.numpy(), 0, alternative="greater").pvalue
    assert exceeds(apart, generator()) == pytest.approx(known, abs=0.01)
    assert exceeds(torch.zeros(5), generator()) == 1
    assert exceeds(torch.tensor([]), generator()) == 1
    assert exceeds(torch.tensor([1.0, torch.nan]), generator()) == 0.5


def test_where_nothing_differs_five_in_a_hundred_are_called_different() -> None:
    draws = torch.randn(400, 8, generator=generator())
    called = sum(differs(row, torch.zeros(8), generator()) <= 0.05 for row in draws)
    assert 8 <= called <= 32  # 20 foreseen; four standard deviations


def test_holm_by_hand_and_an_order_that_never_falls() -> None:
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_kendall_is_scipys_tau_b_with_ties() -> None:
    one, other = torch.randint(0, 4, (2, 12), generator=generator()).tolist()
    assert kendall(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)
    assert kendall([1, 2, math.nan], [2, 1, 0]) == -1
    assert math.isnan(kendall([1, 1], [1, 2]))


def test_the_baselines_know_nothing_of_the_class_and_leave_no_hook() -> None:
    model = gap_linear().eval()
    found = baseline_maps(model, images(), target=[0, 1], seed=1)
    other = baseline_maps(model, images(), target=[3, 2], seed=1)
    assert tuple(found) == BASELINES
    assert all(torch.equal(found[name], other[name]) for name in BASELINES)
    assert not torch.equal(found["random"], baseline_maps(model, images(), seed=2)["random"])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_control_is_flatter_and_keeps_its_place() -> None:
    maps = torch.zeros(1, 32, 32)
    maps[0, 20, 9] = 1
    found = blurred(maps, 2)
    assert divmod(int(found.argmax()), 32) == (20, 9)
    assert found.max() < 0.1
