"""Targets that pick something from an output, fixed to ask the same of another; and labels."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import gradcam_hooks as gh
from gradcam_hooks.targets import Target, select, settle

CLEAN = torch.tensor([[0.1, 0.9, 0.5, -1.0], [3.0, 1.0, 2.0, 0.0]], dtype=torch.float64)
OTHER = torch.tensor([[5.0, -4.0, 1.0, 2.0], [-2.0, 7.0, 0.5, 3.0]], dtype=torch.float64)
LABELS = ("cat", "dog", "ship", "tree")


def asked_of_other(target: Target, clean: object = CLEAN, other: object = OTHER) -> Tensor:
    """What the target settled on one output says of another."""
    return select(settle(target, clean, 2, LABELS), other, 2, LABELS).scores


@pytest.mark.parametrize(
    ("target", "settled", "scores"),
    [
        (None, [1, 0], [-4.0, -2.0]),
        ("ship", [2, 2], [1.0, 0.5]),
        (["ship", 1], [2, 1], [1.0, 7.0]),
        (3, [3, 3], [2.0, 3.0]),
        (gh.TopK(2), [[1, 2], [0, 2]], [[-4.0, 1.0], [-2.0, 0.5]]),
    ],
)
def test_classes_become_numbers(
    target: Target, settled: list[object], scores: list[object]
) -> None:
    found = settle(target, CLEAN, 2, LABELS)
    assert isinstance(found, Tensor)
    assert found.tolist() == settled
    assert asked_of_other(target).tolist() == scores


def test_what_picks_nothing_stays_as_it_is() -> None:
    def mine(output: object) -> Tensor:
        return CLEAN[:, 0]

    for target in (
        gh.AllClasses(),
        gh.Binary(),
        gh.Regression(1),
        gh.Similarity(torch.ones(4)),
        gh.Segment(1, (0, 0)),
        mine,
    ):
        assert settle(target, CLEAN, 2) is target
    assert settle(gh.Difference("dog", 0), CLEAN, 2, LABELS) == gh.Difference(1, 0)
    assert asked_of_other(gh.AllClasses()).tolist() == OTHER.tolist()


def test_probabilities_keep_the_class_that_was_predicted() -> None:
    p = OTHER.softmax(1)
    assert settle(gh.Probability(), CLEAN, 2) == gh.Probability((1, 0))
    assert torch.allclose(asked_of_other(gh.Probability()), torch.stack([p[0, 1], p[1, 0]]))
    assert settle(gh.ReST("dog"), CLEAN, 2, LABELS) == gh.ReST((1, 1))
    assert torch.allclose(asked_of_other(gh.LogProbability("dog")), p[:, 1].log())


def test_finer_keeps_its_class_and_those_it_compares_with() -> None:
    found = settle(gh.Finer(count=2, alpha=0.5), CLEAN, 2)
    assert found == gh.Finer((1, 0), others=((2, 0), (2, 1)), count=2, alpha=0.5)
    # Image 0: class 1 against 2 and 0, with logits 1 and 5; image 1: 0 against 2 and 1, 0.5 and 7.
    w0, w1 = OTHER[0, [2, 0]].softmax(0), OTHER[1, [2, 1]].softmax(0)
    expected = [
        -4 - 0.5 * float(w0 @ OTHER[0, [2, 0]]),
        -2 - 0.5 * float(w1 @ OTHER[1, [2, 1]]),
    ]
    assert asked_of_other(gh.Finer(count=2, alpha=0.5)).tolist() == pytest.approx(expected)


def test_a_segments_predicted_region_becomes_a_mask() -> None:
    clean = torch.zeros(2, 3, 2, 2)
    clean[0, 1, 0, 0] = clean[0, 1, 1, 1] = clean[1, 1, 0, 1] = 5.0
    other = torch.arange(24.0).view(2, 3, 2, 2)  # class 1: 4 5 6 7 and 16 17 18 19
    target = settle(gh.Segment("dog"), clean, 2, LABELS)
    assert isinstance(target, gh.Segment)
    assert target.label == 1
    assert torch.equal(target.where, torch.tensor([[[1, 0], [0, 1]], [[0, 1], [0, 0]]]).bool())  # type: ignore[arg-type]
    assert asked_of_other(gh.Segment("dog"), clean, other).tolist() == [4.0 + 7.0, 17.0]
    with pytest.raises(gh.TargetError, match="predicted nowhere"):  # as it would be unsettled
        select(gh.Segment(1), other, 2)
    mean = settle(gh.Segment(1, reduce="mean"), clean, 2)
    assert select(mean, other, 2).scores.tolist() == [5.5, 17.0]


def found(*rows: tuple[list[float], int, float]) -> dict[str, Tensor]:
    """One image's detections: boxes, classes and scores."""
    return {
        "boxes": torch.tensor([row[0] for row in rows]).reshape(-1, 4),
        "labels": torch.tensor([row[1] for row in rows], dtype=torch.long),
        "scores": torch.tensor([row[2] for row in rows]),
    }


A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]


def test_the_surest_box_of_each_image_becomes_that_box_and_class() -> None:
    clean = [found((A, 1, 0.5), (B, 2, 0.75)), found((A, 3, 0.25))]
    other = [found((A, 1, 0.875), (B, 1, 0.5), (B, 2, 0.125)), found((B, 3, 0.5), (A, 3, 0.375))]
    settled = settle(gh.Box(), clean, 2)
    assert settled == gh.Box([B, A], label=(2, 3), missing="lowest")
    assert select(settled, other, 2).scores.tolist() == [0.125, 0.375]
    assert settle(gh.Box(index=0), clean, 2) == gh.Box([A, A], label=(1, 3), missing="lowest")
    assert settle(gh.Box(A, label="cat"), clean[:1], 1, ("none", "cat")) == gh.Box(
        [A], label=(1,), missing="lowest"
    )


def test_a_box_that_the_disturbed_picture_lost_scores_nothing() -> None:
    settled = settle(gh.Box(), [found((A, 1, 0.5)), found((A, 3, 0.25))], 2)
    gone: list[Mapping[str, Tensor]] = [found((B, 1, 0.5), (A, 2, 0.75)), found()]
    assert select(settled, gone, 2).scores.tolist() == [0.0, 0.0]
    with pytest.raises(gh.TargetError, match=r"no box of class 1 in image 0 overlaps"):
        gh.Box(A, label=1)(gone)
    side = settle(gh.Box(part="x1"), [found((A, 1, 0.5))], 1)
    with pytest.raises(gh.TargetError, match="no box"):  # a lost box has no side
        select(side, [found()], 1)


def test_a_raw_head_keeps_an_index_and_its_class() -> None:
    rows = torch.rand(2, 6, 20, generator=torch.Generator().manual_seed(0))  # 2 classes, N = 20
    rows[:, :4] = rows[:, :4] * 30 + 10
    settled = settle(gh.Box(index=4, head="yolov8"), rows, 2)
    classes = tuple(rows[:, 4:, 4].argmax(1).tolist())
    assert settled == gh.Box(index=4, head="yolov8", label=classes, missing="lowest")
    other = rows.flip(0) * 0.5
    expected = other[torch.arange(2), 4 + torch.tensor(classes), 4]
    assert torch.equal(select(settled, other, 2).scores, expected)
    # The surest box, where nothing of the other head lies: the lowest score of its class.
    surest = settle(gh.Box(head="yolov8"), rows, 2)
    away = rows.clone()
    away[:, :2] += 1000
    label = torch.tensor(surest.label)  # type: ignore[union-attr]
    lowest = away[torch.arange(2), 4 + label].amin(1)
    assert torch.equal(select(surest, away, 2).scores, lowest)
    assert torch.equal(select(surest, rows, 2).scores, rows[:, 4:].flatten(1).amax(1))


def test_detr_like_queries_settle_in_fractions() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    logits[:, 3, 0] += 9
    boxes = torch.rand(2, 5, 4, generator=generator, dtype=torch.float64) * 0.3 + 0.3
    output = {"logits": logits, "pred_boxes": boxes}
    settled = settle(gh.Box(), output, 2)  # neither softmax nor sigmoid was said: both agree
    assert isinstance(settled, gh.Box)
    assert (settled.size, settled.head, settled.label) == ((1, 1), "detr", (0, 0))
    turned = {"logits": logits.flip(1), "pred_boxes": boxes.flip(1)}  # other queries, same boxes
    assert torch.equal(select(settled, turned, 2).scores, logits[:, 3, 0])


@pytest.mark.parametrize(
    ("target", "same"),
    [
        (gh.Difference("cat", "Dog"), gh.Difference(0, 1)),
        (gh.Box(label="ship"), gh.Box(label=2)),
        (gh.Box(label=["ship", "cat"]), gh.Box(label=(2, 0))),
        (gh.Finer("cat", others=["dog", 2]), gh.Finer(0, others=(1, 2))),
        (gh.Finer("cat", others=[["dog"], ["tree"]]), gh.Finer(0, others=((1,), (3,)))),
    ],
)
def test_labels_become_numbers_and_the_target_itself_stays(target: object, same: object) -> None:
    before = repr(target)
    assert target.labelled(LABELS) == same  # type: ignore[attr-defined]
    assert repr(target) == before


@pytest.mark.parametrize(
    ("target", "output"),
    [
        (gh.Difference("cat", "dogg"), CLEAN),
        (gh.Box(label="dogg"), [found((A, 1, 0.5))] * 2),
        (gh.Segment("dogg"), torch.zeros(2, 3, 2, 2)),
        (gh.Finer("dogg"), CLEAN),
    ],
    ids=["Difference", "Box", "Segment", "Finer"],
)
def test_an_unknown_label_gives_the_nearest(target: Target, output: object) -> None:
    with pytest.raises(gh.TargetError, match=r"no class is called 'dogg'.*did you mean 'dog'\?"):
        select(target, output, 2, LABELS)
    with pytest.raises(gh.TargetError, match="labels of this model are not known"):
        select(target, output, 2)
    assert callable(target)
    with pytest.raises(gh.TargetError, match="labels of this model are not known"):
        target(output)


def test_labels_through_an_explainer() -> None:
    from tests.support.nets import gap_linear, images

    with gh.GradCAM(gap_linear(), "0", labels=list("abcde")) as cam:
        by_name = cam(images(), target=gh.Difference("b", "d"))
        assert torch.equal(by_name.raw, cam(images(), target=gh.Difference(1, 3)).raw)
