"""Scores and cases: what is asked of which image, targets, ranks, types, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics.cases import chance, ranks
from tests.support.nets import gap_linear, images, residual

pytestmark = pytest.mark.usefixtures("one_thread")

NET, X = gap_linear().eval(), images(3)
MAPS = torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
FEW = {"steps": 6}


def test_a_model_s_score_is_that_of_the_same_function() -> None:
    classes = NET(X).argmax(1)
    score = metrics.scored(NET, X)
    plain = metrics.deletion(lambda x: NET(x).gather(1, classes[:, None])[:, 0], X, MAPS, **FEW)
    ours = metrics.deletion(score, X, MAPS, **FEW)
    assert torch.equal(score.target, classes)
    assert torch.allclose(ours.values, plain.values)
    assert ours.values.dtype == torch.float64
    assert not ours.values.is_inference()
    assert not plain.curve().requires_grad


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("insertion", FEW),
        ("road", {"shares": (0.3,), "noise": 0}),
        ("average_drop", {}),
        ("infidelity", {"samples": 5}),
        ("idsds", {"patches": 2}),
        ("f_fidelity", {"shares": (0.5,), "samples": 2, "part": 1, "most": 1}),
    ],
)
def test_a_batch_is_its_images_one_by_one(name: str, how: dict[str, object]) -> None:
    measure = getattr(metrics, name)
    together = measure(metrics.scored(NET, X, gh.Probability([1, 4, 0])), X, MAPS, **how)
    alone = [
        measure(
            metrics.scored(NET, X[i : i + 1], gh.Probability(k)),
            X[i : i + 1],
            MAPS[i : i + 1],
            **how,
        ).values
        for i, k in enumerate([1, 4, 0])
    ]
    assert torch.allclose(together.values, torch.cat(alone), atol=1e-7)


@pytest.mark.parametrize("plain", [False, True])
def test_several_targets_are_each_its_own(plain: bool) -> None:
    result = gh.explain(NET, X, "1", target=gh.TopK(2))
    score = metrics.scored(NET, X, gh.TopK(2))
    index = score.target
    assert isinstance(index, Tensor)
    asked = (lambda x: NET(x).gather(1, index)) if plain else score
    both = metrics.deletion(asked, X, result.maps, **FEW)
    assert both.values.shape == (3, 2)
    for target in range(2):
        one = metrics.scored(NET, X, index[:, target])
        wanted = metrics.deletion(one, X, result.maps[:, target], **FEW)
        assert torch.allclose(both.values[:, target], wanted.values)
    assert both.count == 3


def test_targets_that_are_functions_know_their_image() -> None:
    targets = [
        gh.Probability([1, 4, 0]),
        gh.Finer([1, 4, 0]),
        gh.Difference(1, 4),
        gh.ReST(),
    ]
    for target in targets:
        score = metrics.scored(NET, X, target)
        turned = score(X.flip(0), [2, 1, 0])
        assert torch.allclose(turned.flip(0), score(X))
        many = score(X[[1, 1, 0, 2]], [1, 1, 0, 2])
        assert torch.allclose(many, score(X)[[1, 1, 0, 2]])


def test_regions_and_boxes_are_scores() -> None:
    dense = nn.Conv2d(3, 4, 3, padding=1).double()
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[0, :4], mask[1, 2:], mask[2, :, :3] = True, True, True
    score = metrics.scored(dense, X, gh.Segment(1, mask))
    result = gh.explain(dense, X, "", target=gh.Segment(1, mask), method="hirescam")
    assert torch.allclose(score(X), result.scores)
    assert torch.allclose(score(X[[2, 0]], [2, 0]), score(X)[[2, 0]])
    assert metrics.deletion(score, X, result.maps, **FEW).count == 3

    class Detector(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.1, 0.1]]).to(x)
            logits = x.mean((2, 3))[:, None] * torch.tensor([[1.0], [2.0]]).to(x)
            return {"pred_boxes": boxes.expand(len(x), 2, 4), "logits": logits}

    found = metrics.scored(Detector(), X, gh.Box(index=1, head="detr"))
    assert torch.allclose(found(X[[1, 1]], [1, 1]), found(X)[[1, 1]])
    assert metrics.deletion(found, X, MAPS, **FEW).count == 3


def test_space_has_any_rank() -> None:
    values = torch.rand(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = {}
    for space in ((24,), (4, 6), (2, 3, 4)):
        x = values.view(2, 1, *space)
        maps = (values**2).view(2, *space)
        score = lambda given: given.flatten(1).sum(1)  # noqa: E731
        numbers = [
            metrics.deletion(score, x, maps, **FEW),
            metrics.average_drop(score, x, maps),
            metrics.f_fidelity(score, x, maps, shares=(0.5,), part=1, most=1, samples=1),
            metrics.sparseness(maps),
            metrics.relevance_rank_accuracy(maps, maps > 0.5),
        ]
        found[space] = torch.stack([one.values for one in numbers])
        for name in ("road", "idsds", "infidelity", "insertion"):
            how = {"shares": (0.5,)} if name == "road" else {}
            assert getattr(metrics, name)(score, x, maps, **how).values.isfinite().all()
    assert torch.allclose(found[24,], found[4, 6])
    assert torch.allclose(found[24,], found[2, 3, 4])


def test_half_precision_and_training_mode_are_left() -> None:
    net = residual().train()
    before = [one.clone() for one in net.buffers()]
    score = metrics.scored(net, X, 1)
    metrics.deletion(score, X, MAPS, **FEW)
    assert net.training
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    half = gap_linear().to(torch.bfloat16).eval()
    small = X.to(torch.bfloat16)
    found = metrics.road(metrics.scored(half, small, 1), small, MAPS, shares=(0.5,))
    assert found.values.isfinite().all()


def test_raw_maps_are_resized() -> None:
    coarse = torch.rand(3, 4, 4, dtype=torch.float64)
    fine = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear")[:, 0]
    score = metrics.scored(NET, X, 1)
    one, other = (metrics.deletion(score, X, m, **FEW).values for m in (coarse, fine))
    assert torch.allclose(one, other)


def test_ties_favour_no_corner() -> None:
    flat = ranks(torch.zeros(1, 20, 20))[0]
    assert sorted(flat.flatten().tolist()) == list(range(400))
    halves = [float(part.float().mean()) for part in (flat[:10], flat[10:], flat[:, :10])]
    assert all(abs(one - 199.5) < 30 for one in halves)
    assert torch.equal(ranks(torch.zeros(1, 20, 20))[0], flat)
    assert not torch.equal(ranks(torch.zeros(1, 20, 20), seed=1)[0], flat)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.deletion(3, X, MAPS), gh.InputError, "score= is a function"),
        (lambda: metrics.deletion(NET, X, MAPS[:2]), gh.InputError, "for images"),
        (lambda: metrics.deletion(NET, X, MAPS), gh.TargetError, "score= gives a number for each"),
        (lambda: metrics.deletion(NET, X[0, 0], MAPS), gh.InputError, "images= are a floating"),
        (lambda: metrics.sparseness(MAPS / 0), gh.InputError, "not finite"),
        (lambda: metrics.sparseness(MAPS, rank=3), gh.InputError, "rank= says how many"),
        (lambda: metrics.road(NET, X, MAPS, shares=()), gh.OptionError, "shares= needs one"),
        (lambda: metrics.road(NET, X, MAPS, shares=(1.0,)), gh.OptionError, "between 0 and 1"),
        (lambda: metrics.road(NET, X, MAPS, order="up"), gh.OptionError, "'combined'"),
        (
            lambda: metrics.deletion(NET, X, MAPS, fill="grey"),
            gh.OptionError,
            "'blur', 'mean' or a function, not 'grey'",
        ),
        (lambda: metrics.deletion(NET, X, MAPS, fill=[1, 2]), gh.OptionError, "3 channels"),
        (lambda: metrics.iou(MAPS, MAPS > 2, threshold=0), gh.OptionError, "threshold="),
        (lambda: metrics.iou(MAPS, MAPS), gh.InputError, "masks= are bool"),
        (lambda: metrics.iou(MAPS, [(0, 0, 1, 1)] * 3), gh.InputError, "list of boxes"),
        (lambda: metrics.iou(MAPS, [[(2, 0, 1, 1)]] * 3), gh.InputError, "low corner"),
        (lambda: metrics.grid_pg(MAPS, 0, grid=3), gh.InputError, "that 3 divides"),
        (lambda: metrics.grid_pg(MAPS, 4, grid=2), gh.InputError, "0 to 3, in reading order"),
        (lambda: metrics.max_box_acc(MAPS, [[]]), gh.InputError, "for each of 3 images"),
        (lambda: metrics.mprt(MAPS, []), gh.InputError, "each step of cascade"),
        (lambda: metrics.emprt(MAPS, MAPS[:1]), gh.InputError, "of one shape"),
        (
            lambda: metrics.max_sensitivity(lambda x: x, X, MAPS),
            gh.InputError,
            "explain= gives maps",
        ),
        (lambda: metrics.scored(NET, X[0, 0]), gh.InputError, "images= are a tensor"),
        (lambda: metrics.scored(NET, X)(X[:1]), gh.InputError, "was made for 3 images"),
    ],
)
def test_what_is_refused(call: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("seed", [20260101, (1 << 62) - 1])
def test_a_seed_such_as_a_date_draws_other_numbers_for_each_version(seed: int) -> None:
    """PyTorch's generators take 64 bits; so does what is made of a seed, a row and a number."""
    drawn = {float(torch.rand(1, generator=chance(seed, row, number)))
             for row in range(3) for number in range(3)}  # fmt: skip
    assert len(drawn) == 9
