"""Our metrics beside Quantus, captum and grad-cam: what is the same, and what is not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence
from pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics.cases import chance
from tests.support.nets import gap_linear, images

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus
    from quantus.functions.complexity_func import discrete_entropy

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore"),  # theirs
]

NET, X = gap_linear().eval(), images(2)
CLASSES = [1, 4]
MAPS = torch.rand(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
MASKS = torch.zeros(2, 8, 8, dtype=torch.bool)
MASKS[0, :3, :5] = MASKS[1, 4:, 2:] = True
SCORE = metrics.scored(NET, X, CLASSES)
TARGETS = [ClassifierOutputTarget(one) for one in CLASSES]
A, S = MAPS[:, None].numpy(), MASKS[:, None].numpy()


def quiet(name: str, **how: object) -> object:
    return getattr(quantus, name)(disable_warnings=True, normalise=False, **how)


def test_localisation_is_quantus() -> None:
    mass = quiet("RelevanceMassAccuracy").evaluate_batch(a_batch=A, s_batch=S)
    assert metrics.energy_pointing_game(MAPS, MASKS).values.tolist() == pytest.approx(list(mass))
    rank = quiet("RelevanceRankAccuracy").evaluate_batch(a_batch=A, s_batch=S)
    found = metrics.relevance_rank_accuracy(MAPS, MASKS)
    assert found.values.tolist() == pytest.approx(list(rank))
    hits = quiet("PointingGame").evaluate_batch(a_batch=A, s_batch=S)
    assert metrics.pointing_game(MAPS, MASKS).values.tolist() == [float(one) for one in hits]


def test_quantus_takes_an_empty_mask_and_a_tie_for_hits() -> None:
    empty = np.zeros_like(S)
    assert list(quiet("PointingGame").evaluate_batch(a_batch=A, s_batch=empty)) == [1, 1]
    assert metrics.pointing_game(MAPS, torch.from_numpy(empty[:, 0])).count == 0
    flat = np.ones_like(A)
    flat[:, 0, 7, 0] = 0
    assert list(quiet("PointingGame").evaluate_batch(a_batch=flat, s_batch=S)) == [1, 1]
    ours = metrics.pointing_game(torch.from_numpy(flat[:, 0]), MASKS).values.tolist()
    assert ours == pytest.approx([15 / 63, 24 / 63])


def test_sparseness_and_entropy_are_quantus() -> None:
    theirs = quiet("Sparseness").evaluate_batch(x_batch=A, a_batch=A)
    assert metrics.sparseness(MAPS).values.tolist() == pytest.approx(list(theirs), abs=1e-5)
    other = MAPS**3
    before, after = (
        [discrete_entropy(a=m.numpy(), x=m[None].numpy(), n_bins=100) for m in maps]
        for maps in (MAPS, other)
    )
    wanted = [(b - a) / a for a, b in zip(before, after, strict=True)]
    assert metrics.emprt(MAPS, other).values.tolist() == pytest.approx(wanted)


def test_quantus_complexity_is_another_one() -> None:
    theirs = quiet("Complexity").evaluate_batch(x_batch=A, a_batch=A)
    shares = MAPS.flatten(1) / MAPS.flatten(1).sum(1, keepdim=True)
    assert list(theirs) == pytest.approx(torch.special.entr(shares).sum(1).tolist())
    assert metrics.complexity(MAPS).mean < 1 < min(theirs)


def test_quantus_takes_our_explainers() -> None:
    net = gap_linear().float().eval()
    x = X.float().numpy()
    how = {"layer": "1", "method": "layercam"}
    scores = quiet("Sparseness")(
        model=net,
        x_batch=x,
        y_batch=np.array(CLASSES),
        explain_func=metrics.explain_func,
        explain_func_kwargs=how,
    )
    result = gh.explain(net, X.float(), "1", target=CLASSES, method="layercam")
    assert list(scores) == pytest.approx(metrics.sparseness(result.maps).values.tolist(), abs=1e-4)
    raw = metrics.explain_func(net, x, np.array(CLASSES), layer="1", raw=True)
    signed = gh.explain(net, X.float(), "1", target=CLASSES).raw
    assert isinstance(signed, Tensor)
    assert np.allclose(raw[:, 0], signed.numpy())


def test_quantus_scores_the_first_batch_of_road_alone() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([1.0, 0.0]))  # class 0, whatever is removed
    x, maps = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)
    labels = np.array([0, 0, 0, 0, 1, 1])
    theirs = quiet("ROAD", percentages=[50])(
        model=net, x_batch=x.numpy(), y_batch=labels, a_batch=maps.numpy(), batch_size=4
    )
    assert theirs[50] == 1  # of all six images four are right

    def right(images: Tensor) -> Tensor:
        return (net(images).argmax(1) == torch.from_numpy(labels)).double()

    ours = metrics.road(right, x, maps[:, 0], order="most", shares=(0.5,))
    assert ours.mean == pytest.approx(4 / 6)


def test_road_is_grad_cams() -> None:
    net = gap_linear().float().eval()
    found = metrics.road(SCORE, X, MAPS, shares=(0.25, 0.5), noise=0)
    for at, share in enumerate((25, 50)):
        for name, removal in (
            ("most", RemoveMostRelevantFirst),
            ("least", RemoveLeastRelevantFirst),
        ):
            ask = PerturbationConfidenceMetric(removal(100 - share, NoisyLinearImputer(noise=0)))
            theirs = ask(X.float(), MAPS.numpy(), TARGETS, net, return_diff=False)
            ours = found.curves[name][:, at]
            assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-5)


def test_grad_cams_confidence_drop_is_absolute() -> None:
    net = nn.Sequential(NET, nn.Softmax(1)).eval()
    low, high = MAPS.amin((1, 2), keepdim=True), MAPS.amax((1, 2), keepdim=True)
    unit = (MAPS - low) / (high - low)
    classes = [int((net(X) - net(X * unit[:, None]))[i].argmax()) for i in range(2)]
    targets = [ClassifierOutputTarget(one) for one in classes]
    theirs = np.asarray(DropInConfidence()(X, unit.numpy(), targets, net))
    score = metrics.scored(net, X, classes)
    ours = metrics.average_drop(score, X, MAPS).values
    assert (ours > 0).all()
    assert (ours * score(X)).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_max_sensitivity_is_captums() -> None:
    def explain(x: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(NET(leaf)[:, 1].sum(), leaf)[0].sum(1)

    def disturb(x: Tensor, radius: float) -> Tensor:
        # Four versions of each image, one image behind the other.
        found = []
        for at, one in enumerate(x):
            noise = torch.rand(one.shape, generator=chance(0, at // 4, at % 4)).double()
            found.append(one + radius * (2 * noise - 1))
        return torch.stack(found)

    def told(x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        # captum hands over a tuple first and tensors later, and wants a tuple back.
        return (explain(x[0] if isinstance(x, tuple) else x)[:, None],)

    theirs = sensitivity_max(told, X, perturb_func=disturb, n_perturb_samples=4)
    ours = metrics.max_sensitivity(explain, X, explain(X), samples=4)
    assert ours.values.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_infidelity_is_captums(normalize: bool) -> None:
    def disturb(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.stack(
            [
                0.2 * torch.randn(one.shape, generator=chance(0, at // 5, at % 5), dtype=one.dtype)
                for at, one in enumerate(x)
            ]
        )
        return noise, x - noise

    theirs = infidelity(
        lambda x: NET(x)[:, 1],
        disturb,
        X,
        MAPS[:, None].expand(-1, 3, -1, -1),
        n_perturb_samples=5,
        normalize=normalize,
    )
    score = metrics.scored(NET, X, 1)
    ours = metrics.infidelity(score, X, MAPS, kind="noise", samples=5, normalize=normalize)
    assert ours.values.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)
