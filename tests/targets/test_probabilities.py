"""Probability, log-probability, ReST and Finer: by hand, their gradients, beside the peer's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils import model_targets as peer
from torch import Tensor

import gradcam_hooks as gh
from gradcam_hooks.targets import select
from tests.support.nets import gap_linear, images

# exp is 6, 3, 1 and 1, 1, 2: probabilities 0.6, 0.3, 0.1 and 0.25, 0.25, 0.5.
Y = torch.tensor([[6.0, 3.0, 1.0], [1.0, 1.0, 2.0]], dtype=torch.float64).log()
LABELS = ("cat", "dog", "ship")
ALL = [gh.Probability, gh.LogProbability, gh.ReST, gh.Finer]


def scores(target: object, output: Tensor = Y) -> list[float]:
    return select(target, output, len(output), LABELS).scores.tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (gh.Probability(), [0.6, 0.5]),
        (gh.Probability(1), [0.3, 0.25]),
        (gh.Probability("dog"), [0.3, 0.25]),
        (gh.Probability([2, 0]), [0.1, 0.25]),
        (gh.Probability(["ship", 0]), [0.1, 0.25]),
        (gh.Probability(torch.tensor([2, 0])), [0.1, 0.25]),
        (gh.Probability(np.array([2, 0])), [0.1, 0.25]),
        (gh.LogProbability(), [math.log(0.6), math.log(0.5)]),
        (gh.LogProbability(1), [math.log(0.3), math.log(0.25)]),
        (gh.ReST(), [math.log(6) + math.log(0.6), math.log(2) + math.log(0.5)]),
        (gh.ReST(2), [math.log(1) + math.log(0.1), math.log(2) + math.log(0.5)]),
        # (0.3 log 2 + 0.1 log 6) / 0.4 and (0.25 log 2 + 0.25 log 2) / 0.5
        (gh.Finer(), [(0.3 * math.log(2) + 0.1 * math.log(6)) / 0.4, math.log(2)]),
        # Class 1 is log 2 below class 0 and log 3 above class 2, and in a tie the lower number.
        (gh.Finer(1, count=1), [math.log(3) - math.log(6), 0.0]),
        (gh.Finer(count=1, alpha=0.5), [math.log(6) - math.log(3) / 2, math.log(2)]),
        (gh.Finer(alpha=0), [math.log(6), math.log(2)]),
        (gh.Finer("cat", others=["ship"]), [math.log(6), -math.log(2)]),
        (gh.Finer([0, 2], others=[[2], [0]]), [math.log(6), math.log(2)]),
    ],
    ids=str,
)
def test_numbers_by_hand(target: Callable[[object], Tensor], expected: list[float]) -> None:
    assert scores(target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "gradient"),
    [
        (gh.Probability(), [[0.24, -0.18, -0.06], [-0.125, -0.125, 0.25]]),  # p_c (e_c - p)
        (gh.LogProbability(), [[0.4, -0.3, -0.1], [-0.25, -0.25, 0.5]]),  # e_c - p
        (gh.ReST(), [[1.4, -0.3, -0.1], [-0.25, -0.25, 1.5]]),  # 2 e_c - p
        (gh.Finer(), [[1.0, -0.75, -0.25], [-0.5, -0.5, 1.0]]),  # e_c - p_i / sum p_i
        (gh.Finer(alpha=0.5), [[1.0, -0.375, -0.125], [-0.25, -0.25, 1.0]]),
    ],
    ids=str,
)
def test_gradients_by_hand(target: Callable[[object], Tensor], gradient: list[list[float]]) -> None:
    logits = Y.clone().requires_grad_()
    (found,) = torch.autograd.grad(target(logits).sum(), logits)
    assert torch.allclose(found, torch.tensor(gradient, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("target", [gh.Probability(1), gh.LogProbability(1), gh.ReST(1)], ids=str)
def test_gradients_are_those_of_the_value(target: Callable[[object], Tensor]) -> None:
    assert torch.autograd.gradcheck(target, (Y.clone().requires_grad_(),))


def test_finer_is_the_weighted_mean_of_the_maps_of_the_differences() -> None:
    net, x = gap_linear(), images(1)
    logits = net(x).detach()
    target = gh.Finer(2, others=(0, 4), alpha=1)
    weights = logits[0, [0, 4]].softmax(0)
    differences = [gh.explain(net, x, "0", target=gh.Difference(2, one)).raw for one in (0, 4)]
    expected = weights[0] * differences[0] + weights[1] * differences[1]
    assert torch.allclose(gh.explain(net, x, "0", target=target).raw, expected)


def test_the_peers_values_and_where_its_gradient_is_another() -> None:
    logits = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    logits.requires_grad_()
    pairs = [
        (gh.Probability(4), peer.ClassifierOutputSoftmaxTarget(4)),
        (gh.ReST(4), peer.ClassifierOutputReST(4)),
        (gh.Finer(4, others=(1, 2, 5), alpha=0.7), peer.FinerWeightedTarget(4, [1, 2, 5], 0.7)),
    ]
    for ours, theirs in pairs:
        assert torch.allclose(ours(logits), theirs(logits), atol=1e-7)
    gradients = [torch.autograd.grad(one(logits).sum(), logits)[0] for one in pairs[2]]
    assert not torch.allclose(*gradients, atol=1e-3)  # it differentiates the weights too
    probabilities = logits.softmax(1).detach()
    constant = peer.FinerWeightedTarget(4, [1, 2, 5], 0.7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "softmax", lambda values, dim: probabilities)
        (held,) = torch.autograd.grad(constant(logits).sum(), logits)
    assert torch.allclose(gradients[0], held, atol=1e-7)
    theirs = gh.Finer(4, others=(1, 2, 5), alpha=0.7, constant=False)
    (same,) = torch.autograd.grad(theirs(logits).sum(), logits)
    assert torch.allclose(same, gradients[1], atol=1e-7)


def test_the_class_explained_is_in_the_result() -> None:
    net, x = gap_linear(), images()
    predicted = net(x).argmax(1)
    for make in ALL:
        assert torch.equal(gh.explain(net, x, "0", target=make()).target, predicted)
        assert gh.explain(net, x, "0", target=make([1, 4])).target.tolist() == [1, 4]
    named = gh.explain(net, x, "0", target=gh.ReST("b"), labels=list("abcde"))
    assert named.target.tolist() == [1, 1]


def test_finer_with_fewer_classes_than_asked_and_weights_that_underflow() -> None:
    assert scores(gh.Finer(), Y[:, :2]) == pytest.approx([math.log(2), 0.0])
    far = torch.tensor([[2000.0, 0.0, 0.0]], dtype=torch.float64)
    assert scores(gh.Finer(), far) == [2000.0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (gh.Probability(), "Probability()"),
        (gh.LogProbability("cat"), "LogProbability('cat')"),
        (gh.ReST([1, 2]), "ReST((1, 2))"),
        (gh.Finer(1, alpha=0.5), "Finer(1, alpha=0.5)"),
        (gh.Finer(1, others=[0]), "Finer(1, others=(0,))"),
    ],
)
def test_each_says_itself_and_is_equal_to_its_like(target: object, said: str) -> None:
    assert repr(target) == said
    assert eval(said, vars(gh)) == target
    assert hash(eval(said, vars(gh))) == hash(target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gh.Probability(-1), "a class is a whole number from 0 up, not -1"),
        (lambda: gh.Probability(True), "whole number from 0 up, not True"),
        (lambda: gh.Probability(1.5), "a number, a label or a sequence of these, not 1.5"),
        (lambda: gh.Probability([]), "a sequence of these"),
        (lambda: gh.Finer(count=0), r"Finer\(count=\) is a whole number from 1 up, not 0"),
        (lambda: gh.Finer(alpha=-1), r"Finer\(alpha=\) is a number from 0 up, not -1"),
        (lambda: gh.Finer(alpha=math.nan), r"not nan"),
        (lambda: gh.Finer(others=[]), r"Finer\(others=\) is a sequence of classes, not \[\]"),
        (lambda: gh.Finer(others="dog"), r"a sequence of classes, not 'dog'"),
        (lambda: gh.Finer(others=[[1], [1, 2]]), "as many classes for one image as for another"),
        (lambda: scores(gh.Probability(3)), "class 3 is out of range: .* 0 to 2"),
        (lambda: scores(gh.Probability([0, 1, 2])), "3 classes came for a batch of 2"),
        (lambda: scores(gh.Probability("shipp")), "did you mean 'ship'"),
        (lambda: gh.Probability("cat")(Y), "labels of this model are not known"),
        (lambda: scores(gh.Finer(0, others=[0, 1])), "compares a class with itself"),
        (lambda: scores(gh.Finer(0, others=[3])), "class 3 is out of range"),
        (lambda: scores(gh.Finer(0, others=[[1], [1], [1]])), "for 3 images of 2"),
    ],
)
def test_what_is_not_legal_is_said(make: Callable[[], object], message: str) -> None:
    with pytest.raises(gh.TargetError, match=message):
        make()


@pytest.mark.parametrize("make", ALL)
def test_one_logit_is_no_choice_of_classes(make: Callable[[], Callable[..., Tensor]]) -> None:
    with pytest.raises(gh.OutputError, match=r"two classes or more.*of one logit explain Binary"):
        make()(torch.ones(2, 1))
    with pytest.raises(gh.OutputError, match=r"tensor of shape \(2, 3, 4, 4\)"):
        make()(torch.ones(2, 3, 4, 4))
