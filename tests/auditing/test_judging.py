"""Which groups are accused, by numbers that a hand can follow."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.auditing.statistics import one_way
from gradcam_hooks.auditing.strategies import Kind, Proof
from gradcam_hooks.auditing.trials import Group, Trials, judged

COUNT, FEW = 80, 10


def verdict(
    looks: Tensor | None,
    members: Tensor,
    rates: Tensor,
    left: Tensor | None = None,
    by: Kind = "place",
    corner: int = FEW,
    **group: object,
) -> tuple[Proof, bool]:
    """Of a group of the class 0, whose every region decides; few look at one corner."""
    generator = torch.Generator().manual_seed(0)
    answers = (torch.arange(COUNT) >= COUNT - 20).long()
    cells = torch.randint(64, (COUNT,), generator=generator)
    cells[:corner] = 0
    places = functional.one_hot(cells, 64).float()
    tried = torch.arange(COUNT - 20)
    ones, none = torch.ones(len(tried)), torch.full((len(tried),), torch.nan)
    trials = Trials(tried, ones, 0 * ones, rates[: len(tried)], 0 * ones, none,
                    0.5 * ones if left is None else left[: len(tried)])  # fmt: skip
    own = Group(members, by, 0, **group)
    ((proof, suspect),) = judged([own], trials, answers, places, looks, generator)
    return proof, suspect


def drawn(seed: int = 0) -> Tensor:
    """What is at each picture's place: nothing that is alike."""
    return torch.randn(COUNT, 16, generator=torch.Generator().manual_seed(seed))


def with_mark() -> Tensor:
    looks = drawn()
    looks[:FEW] += 4 * functional.one_hot(torch.tensor(3), 16)
    return looks


EQUAL = torch.full((COUNT,), 0.75)
FIRST = torch.arange(FEW)


@pytest.mark.parametrize(
    ("looks", "gap", "wanted"),
    [
        (with_mark(), 4.0, True),
        (with_mark(), 2.0, False),  # not apart: some of many places
        (drawn(), 4.0, False),  # the class's own object, which stands there in some
        (None, 4.0, False),
    ],
)
def test_few_that_look_at_a_place_of_their_own_are_suspect_where_what_is_there_is_unlike_the_rest(
    looks: Tensor | None, gap: float, *, wanted: bool
) -> None:
    proof, suspect = verdict(looks, FIRST, EQUAL, gap=gap)
    assert abs(proof.more) < 1e-6  # their regions overrule others as often as the rest's do
    assert suspect is wanted
    assert (proof.q_alike <= 0.05) is wanted


def test_a_region_that_makes_few_others_its_class_decides_nothing() -> None:
    assert not verdict(with_mark(), FIRST, torch.full((COUNT,), 0.2), gap=4.0)[1]
    assert verdict(with_mark(), FIRST, torch.full((COUNT,), 0.4), gap=4.0)[1]
    without = torch.where(torch.arange(COUNT) < FEW, 0.4, 0.1)  # oftener, and in less than half
    assert not verdict(drawn(), FIRST, without)[1]


def test_what_overrules_oftener_is_suspect_but_never_the_most_of_a_class_beside_few() -> None:
    rates = torch.where(torch.arange(COUNT) < FEW, 1.0, 0.25)
    assert verdict(drawn(), FIRST, rates)[1]
    assert not verdict(drawn(), torch.arange(FEW, COUNT - 20), 1.25 - rates)[1]


def test_oftener_by_chance_accuses_nobody() -> None:
    rates = torch.tensor([1.0, 0.5]).repeat(COUNT // 2)  # half and half, in the few as in the rest
    rates[FIRST] = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5])
    proof, suspect = verdict(drawn(), FIRST, rates)
    assert proof.more == pytest.approx(0.15)
    proof, suspect = verdict(drawn(), FIRST[:4], rates)
    assert proof.more > 0.2
    assert proof.q <= 0.05 < proof.q_pasted  # covering alone would carry both
    assert not suspect


@pytest.mark.parametrize(
    ("by", "count", "corner", "wanted"),
    [
        ("look", 40, 40, True),  # most of the class, at one corner, which did not choose them
        ("look", 40, 0, False),  # anywhere
        ("look", 6, 6, True),
        ("place", 40, 40, False),  # the place chose them, and nothing else sets them apart
    ],
)
def test_what_looks_alike_and_stands_in_one_corner_is_suspect_in_however_many(
    by: Kind, count: int, corner: int, *, wanted: bool
) -> None:
    proof, suspect = verdict(None, torch.arange(count), EQUAL, by=by, corner=corner)
    assert abs(proof.more) < 1e-6
    assert suspect is wanted


def test_most_of_a_class_that_overrules_oftener_is_suspect_at_one_corner_alone() -> None:
    rates = torch.where(torch.arange(COUNT) < 40, 1.0, 0.25)
    assert verdict(None, torch.arange(40), rates, corner=40)[1]
    assert not verdict(None, torch.arange(40), rates, corner=0)[1]


@pytest.mark.parametrize(
    ("few", "rest", "island", "surer", "wanted"),
    [
        (1.0, (0.9, 0.7), True, 1.0, True),
        (0.7, (0.6, 0.5), True, 1.0, False),  # of nothing is it sure
        (0.9, (0.9, 0.7), True, 0.75, False),  # as sure as of half of the others
        (1.0, (0.9, 0.7), False, None, False),  # a part of all, which is not asked
    ],
)
def test_few_that_overrule_something_else_are_suspect_wherever_they_are(
    few: float, rest: tuple[float, float], surer: float | None, *, island: bool, wanted: bool
) -> None:
    left = torch.tensor(rest).repeat(COUNT // 2)
    left[FIRST] = few
    proof, suspect = verdict(None, FIRST, EQUAL, left, island=island)
    assert suspect is wanted
    assert proof.left == pytest.approx(few)
    if surer is None:
        assert torch.tensor(proof.surer).isnan()
    else:
        assert proof.surer == pytest.approx(surer)


def test_how_alike_is_the_share_of_all_choices_that_are_as_much() -> None:
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(1)).double()
    points[:3, 0] += 2
    ways = functional.normalize(points - points.mean(0), dim=1)
    every = [float(ways[list(one)].sum(0).square().sum()) for one in combinations(range(9), 3)]
    exact = sum(one >= every[0] - 1e-9 for one in every) / len(every)
    chosen = torch.arange(9) < 3
    generator = torch.Generator().manual_seed(0)
    assert one_way(points, chosen, torch.zeros(9), generator, 9999) == pytest.approx(
        exact, abs=0.01
    )
    apart = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1])
    assert one_way(points, chosen, apart, generator) == 1.0  # nothing of their class beside them
