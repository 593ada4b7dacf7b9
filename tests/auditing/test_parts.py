"""The parts of an audit, against numbers worked out by hand and other libraries."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from gradcam_hooks.auditing import clusters
from gradcam_hooks.auditing.features import boxes_of, concentration, off_centre, places, turned
from gradcam_hooks.auditing.islands import bound, islands
from gradcam_hooks.auditing.proof import cover, covered, paste
from gradcam_hooks.auditing.statistics import discoveries, fisher, interval, signs, strata
from gradcam_hooks.auditing.trials import fixed


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_place_is_a_share_of_the_positive_map_and_a_blank_map_has_none() -> None:
    maps = torch.zeros(2, 16, 16)
    maps[0, 0:2, 0:2], maps[0, 14:, 14:], maps[0, 5, 5] = 3.0, 1.0, -50.0
    found = places(maps)
    assert found[0, 0] == 0.75
    assert found[0, 63] == 0.25
    assert found[1].sum() == 0


def test_a_region_is_connected_and_no_larger_than_a_quarter() -> None:
    maps = torch.zeros(2, 16, 20)
    maps[0, 4:7, 2:9], maps[0, 5, 3], maps[0, 12:, 15:] = 0.7, 1.0, 0.9  # another region apart
    maps[1] = 0.8
    maps[1, 15, 19] = 1.0
    assert boxes_of(maps).tolist() == [[2, 4, 9, 7], [10, 8, 20, 16]]


def test_places_that_agree_are_concentrated_and_a_corner_is_off_the_centre() -> None:
    corner = torch.zeros(5, 64)
    corner[:, 56] = 1
    assert concentration(corner) == pytest.approx(1)
    assert concentration(torch.eye(64)) == 0
    assert off_centre(corner) == 1
    middle = torch.zeros(5, 64)
    middle[:, 27] = 1
    assert off_centre(middle) == 0
    assert turned(corner)[0].sum(0).nonzero()[:, 0].tolist() == [0, 7, 56, 63]


def test_a_corner_is_a_fixed_place_and_a_habit_of_the_middle_is_none() -> None:
    corner, middle = torch.zeros(12, 64), torch.zeros(12, 64)
    corner[:, 56], middle[:, [27, 28, 35, 36]] = 1, 0.25
    anywhere = torch.eye(64)[torch.randperm(64, generator=generator())[:12]]
    assert fixed(corner, generator())
    assert not fixed(middle, generator())
    assert not fixed(anywhere, generator())


def test_the_test_of_signs_is_the_exact_one() -> None:
    values = torch.tensor([0.5, 1.0, -0.25, 1.0, 0.5, 0.75])
    every = [sum(s * v for s, v in zip(way, values.tolist(), strict=True))
             for way in itertools.product((-1, 1), repeat=6)]  # fmt: skip
    exact = sum(one >= float(values.sum()) for one in every) / len(every)
    assert signs(values, generator()) == pytest.approx(exact, abs=0.01)
    assert signs(torch.zeros(5), generator()) == 1


def test_the_test_within_strata_is_the_exact_one_and_leaves_out_what_tells_nothing() -> None:
    values = torch.tensor([0.9, 0.7, 0.2, 0.4, 0.1, 1.0, 1.0])
    chosen = torch.tensor([1, 1, 0, 0, 0, 1, 1]).bool()
    groups = torch.tensor([0, 0, 0, 0, 0, 7, 7])  # of group 7 all are chosen
    reached = [sum(pair) >= 1.6 - 1e-6 for pair in itertools.combinations(values[:5].tolist(), 2)]
    more, p = strata(values, chosen, groups, generator())
    assert more == pytest.approx(0.8 - 0.7 / 3)
    assert p == pytest.approx(sum(reached) / len(reached), abs=0.02)
    more, p = strata(values, torch.ones(7).bool(), groups, generator())
    assert math.isnan(more)
    assert p == 1


def test_false_discovery_rates_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    p = torch.rand(40, generator=generator()).square().tolist()
    assert discoveries(p) == pytest.approx(stats.false_discovery_control(p).tolist())


def test_wilsons_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for hits, count in ((0, 9), (47, 49), (5, 5)):
        exact = stats.binomtest(hits, count).proportion_ci(method="wilson")
        assert interval(hits, count) == pytest.approx((exact.low, exact.high), abs=1e-4)


def blobs(sizes: list[int], apart: float = 6.0) -> tuple[Tensor, Tensor]:
    noise = torch.randn(sum(sizes), 4, generator=generator())
    own = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
    return noise + apart * torch.eye(4)[own], own


@pytest.mark.parametrize("sizes", [[60, 60], [90, 12], [40, 30, 20]])
def test_the_data_tell_how_many_groups_there_are_and_which(sizes: list[int]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    points, own = blobs(sizes)
    found, leaves = clusters.grouped(points, generator())
    assert int(found.max()) + 1 == len(sizes)
    assert metrics.adjusted_rand_score(own, found) == 1
    assert max(leaves) < 0.05


def test_one_cloud_is_not_cut_where_it_is_dense() -> None:
    points = torch.randn(150, 4, generator=generator())
    _, leaves = clusters.grouped(points, generator())
    assert len(leaves) == 1 or max(leaves) > 0.1


def test_the_eigenvalues_are_those_of_the_laplacian_of_a_known_graph() -> None:
    complete = torch.ones(5, 5, dtype=torch.float64) - torch.eye(5, dtype=torch.float64)
    values, _ = clusters.spectrum(complete)
    assert values.tolist() == pytest.approx([0, 1.25, 1.25, 1.25, 1.25], abs=1e-9)
    assert clusters.leaving(complete, torch.tensor([1, 1, 0, 0, 0]).bool()) == pytest.approx(0.75)


def test_of_very_many_some_are_grouped_and_the_others_join_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "MOST", 80)
    points, own = blobs([300, 100])
    found, leaves = clusters.grouped(points, generator())
    assert len(leaves) == 2
    assert torch.equal(found == found[0], own == 0)


def test_few_pictures_apart_from_a_cloud_are_an_island_and_a_cloud_has_none() -> None:
    cloud = torch.randn(200, 6, generator=generator())
    apart = cloud.clone()
    apart[[3, 50, 77, 120, 199]] = 12 + 0.3 * torch.randn(5, 6, generator=generator())
    (island,) = islands(apart, generator(), 3.0)
    assert island.members.tolist() == [3, 50, 77, 120, 199]
    assert island.gap > 3
    assert island.stability > 0.5
    assert islands(cloud, generator(), 3.0) == []
    bounds, nearest = bound(torch.tensor([[0.0], [1.0], [9.0], [10.0], [30.0]]), 1)
    assert bounds.tolist() == [0, 0, 2, 2, 4]  # 30's nearest is 10, and 10's is 9
    assert nearest[:, 0].tolist() == [1, 0, 3, 2, 3]


def test_of_very_many_the_others_join_the_islands_of_their_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradcam_hooks.auditing import islands as module

    monkeypatch.setattr(module, "MOST", 120)
    points, own = blobs([300, 40], apart=14)
    found = islands(points, generator(), 3.0)
    members = torch.cat([one.members for one in found])
    assert bool((own[members] == 1).all())
    assert len(members.unique()) >= 36


def test_a_group_that_is_there_comes_again_and_a_cut_cloud_does_not() -> None:
    points, own = blobs([60, 40])
    assert min(clusters.returning(points, own, generator())) > 0.95
    cloud = torch.randn(100, 4, generator=generator())
    chance = torch.randint(4, (100,), generator=generator())
    assert max(clusters.returning(cloud, chance, generator())) < 0.5


def test_several_tests_together_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for p in ([0.05, 0.05], [0.2], [0.9, 0.01, 0.5]):
        assert fisher(p) == pytest.approx(stats.combine_pvalues(p).pvalue)


def brightest(inputs: Tensor) -> Tensor:
    """Probabilities of a network that says the channel of the brightest pixel."""
    return (50 * inputs.amax((2, 3))).softmax(1).double()


def bright(channel: int, top: int, left: int, strength: float) -> Tensor:
    image = torch.zeros(2, 16, 16)
    image[channel, top : top + 4, left : left + 4] = strength
    return image


def test_a_cover_is_what_surrounds_it() -> None:
    image = torch.full((1, 1, 8, 8), 3.0)
    image[0, 0, 2:4, 2:4] = 100
    assert torch.equal(covered(image, torch.tensor([[2, 2, 4, 4]])), torch.full((1, 1, 8, 8), 3.0))
    assert image.max() == 100  # what came is left alone


def test_covering_and_putting_onto_others_do_what_they_must() -> None:
    # 0 and 1 are class 0, the first strong; 2 and 3 are class 1.
    images = torch.stack(
        [bright(0, 0, 0, 9), bright(0, 0, 12, 1), bright(1, 12, 0, 5), bright(1, 12, 12, 5)]
    )
    images[:2, 1] += 0.01  # so that what is left of class 0 is class 1
    boxes = torch.tensor([[0, 0, 4, 4], [12, 0, 16, 4], [0, 12, 4, 16], [12, 12, 16, 16]])
    answers = torch.tensor([0, 0, 1, 1])
    done = cover([0, 1], boxes[:2], lambda numbers: images[list(numbers)], brightest, generator())
    assert done.here.tolist() == [1, 1]
    assert done.elsewhere.tolist() == [0, 0]
    put = paste(
        [0, 1], boxes, answers, range(4), lambda numbers: images[list(numbers)], brightest,
        generator(),
    )  # fmt: skip
    assert put.numbers.tolist() == [0, 1]
    assert put.rates.tolist() == [1, 0]  # 9 overrules 5, and 1 does not
    assert put.tried == 4


def test_a_region_is_put_where_the_other_does_not_look() -> None:
    images = torch.stack([bright(0, 0, 0, 9), bright(1, 0, 0, 5)])
    boxes, answers = torch.tensor([[0, 0, 4, 4]] * 2), torch.tensor([0, 1])
    given = ([0], boxes, answers, range(2), lambda numbers: images[list(numbers)], brightest)
    assert paste(*given, generator()).tried == 0
    assert paste(*given, generator(), apart=1.0).rates.tolist() == [1]
