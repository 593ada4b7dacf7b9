"""What may be concluded of numbers that were made up: who is recommended, who contradicts whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradcam_hooks.evaluating.judging import Judged, judged
from gradcam_hooks.evaluating.measures import measures_of
from gradcam_hooks.evaluating.ways import Way, methods_of, ways_of
from gradcam_hooks.evaluating.wording import Told, recommended, told_of_metrics, warned

PICTURES = 10
NAMES = ["insertion", "deletion", "idsds"]


def rows() -> list[Way]:
    """Two methods, each with its control, and the four baselines."""
    ways = ways_of(methods_of(["hirescam", "gradcam"]), ["layer"])
    return [row for way in ways for row in ([way, way.control] if way.kind == "method" else [way])]


def numbers(*levels: float, falls: bool = False) -> Tensor:
    """Each row's level on ten pictures, with a little that differs from picture to picture."""
    noise = 0.01 * torch.rand(len(levels), PICTURES, generator=torch.Generator().manual_seed(1))
    found = torch.tensor(levels, dtype=torch.float64)[:, None] + noise
    return -found if falls else found


def told(values: dict[str, Tensor]) -> Told:
    measures = measures_of([*values], located=False)
    found = judged(rows(), measures, values)
    passes = {row.key: 1.0 for row in rows()}
    return Told(rows(), measures, found, values, PICTURES, passes, {})


BEST = (0.9, 0.5, 0.7, 0.6, 0.1, 0.2, 0.1, 0.0)
"""HiResCAM, its blur, Grad-CAM, its blur, and the baselines."""


def good() -> dict[str, Tensor]:
    return {
        "insertion": numbers(*BEST),
        "deletion": numbers(*BEST, falls=True),
        "idsds": numbers(*BEST),
        "mprt": numbers(0.2, 0.2, 0.3, 0.3, 1, 1, 1, 1),
    }


def test_the_best_is_recommended_and_what_is_worse_is_not_said_to_be_alike() -> None:
    one = told(good())
    assert one.judged.best == "hirescam@layer"
    assert one.judged.standings["hirescam@layer"].rank == 1
    assert one.judged.standings["gradcam@layer"].rank == 2
    assert one.judged.standings["gradcam@layer"].alike == pytest.approx(2 / 2**PICTURES)
    assert one.judged.standings["hirescam@layer"].beats == pytest.approx(2 / 2**PICTURES)  # Holm
    assert recommended(one).endswith("No other does as well.")
    assert one.judged.contradictions == []
    assert told_of_metrics(one) == []


def test_rounding_ranks_nothing() -> None:
    values = good()
    values["insertion"][2] = values["insertion"][0] + 1e-7
    one = told({name: values[name] for name in ("insertion", "deletion")})
    ranks = torch.tensor([1.5, 1.5])  # of insertion; of deletion 1 and 2
    standings = one.judged.standings
    found = [standings[key].rank for key in ("hirescam@layer", "gradcam@layer")]
    assert found == pytest.approx(((ranks + torch.tensor([1.0, 2.0])) / 2).tolist())


def test_equals_are_named_with_their_price() -> None:
    level = (0.9, 0.5, 0.9, 0.6, 0.1, 0.2, 0.1, 0.0)
    values = {name: numbers(*level, falls=name == "deletion") for name in NAMES}
    assert recommended(told(values)).endswith(
        "does not differ from it beyond noise and costs the same."
    )


def test_a_map_that_stays_where_weights_are_drawn_anew_is_never_recommended() -> None:
    values = {**good(), "mprt": numbers(1, 1, 0.3, 0.3, 1, 1, 1, 1)}
    one = told(values)
    assert one.judged.best == "gradcam@layer"
    assert any(word.startswith("Do not believe HiResCAM at layer:") for word in warned(one))
    both = told({**good(), "mprt": numbers(1, 1, 1, 1, 1, 1, 1, 1)})
    assert recommended(both).startswith("Nothing is recommended: HiResCAM at layer and Grad-CAM")


def test_a_baseline_ahead_on_one_picture_of_few_is_enough_for_doubt() -> None:
    values = {name: tensor[:, :4] for name, tensor in good().items()}
    measures = measures_of([*values], located=False)
    found = judged(rows(), measures, values)
    assert found.best is None  # 1 of 16 ways to flip four signs, and two methods
    few = Told(rows(), measures, found, values, 4, {}, {})
    assert "4 pictures are too few" in recommended(few)


def test_metrics_that_contradict_and_that_are_gamed_are_named() -> None:
    values = good()
    values["idsds"] = numbers(*(1 - one for one in BEST))
    one = told(values)
    assert {pair[:2] for pair in one.judged.contradictions} == {
        ("insertion", "idsds"),
        ("deletion", "idsds"),
    }
    words = " ".join(told_of_metrics(one))
    assert "Insertion and IDSDS contradict each other" in words
    assert "IDSDS prefers blurred maps to the methods' own, in 2 of 2 rows." in words
    assert "IDSDS puts Fake-CAM first" in words
    found: Judged = one.judged
    assert found.verdicts["idsds"].tau < 0 < found.verdicts["insertion"].tau


def test_a_blur_that_ranks_ahead_of_what_is_recommended_is_told() -> None:
    level = (0.8, 0.9, 0.7, 0.6, 0.1, 0.2, 0.1, 0.0)
    one = told({name: numbers(*level, falls=name == "deletion") for name in NAMES})
    assert one.judged.best == "hirescam@layer"
    assert any(word.startswith("Its own map under a blur ranks ahead of it (1.0)")
               for word in warned(one))  # fmt: skip
