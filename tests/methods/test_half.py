"""Half precision, and numbers that are none: the right map, or a word on why there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.network.half import unscaled
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import gap_linear, images


class Faint(nn.Module):
    """A head of small weights on the mean of a large map: its gradients are below float16's.

    Args:
        weight: how small.
        bent: what follows each convolution.
    """

    def __init__(self, weight: float, bent: Callable[[Tensor], Tensor] = functional.relu) -> None:
        super().__init__()
        self.bent = bent
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.fc = nn.Linear(12, 4)
        with torch.no_grad():
            self.fc.weight.mul_(weight)

    def forward(self, x: Tensor) -> Tensor:
        features = self.bent(self.b(self.bent(self.a(x))))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


def near(found: gh.Explanation, want: gh.Explanation) -> None:
    assert found.diagnosis == want.diagnosis
    assert isinstance(found.raw, Tensor)
    assert isinstance(want.raw, Tensor)
    assert found.raw.dtype == torch.float32
    assert (found.raw - want.raw).abs().max() < 0.03 * want.raw.abs().max()
    assert (found.maps - want.maps).abs().max() < 0.1


def alike(found: gh.Explanation, want: gh.Explanation) -> None:
    """As a whole: at single pixels a ReLU may switch on the other side of a rounding."""
    assert found.diagnosis == want.diagnosis
    assert isinstance(found.raw, Tensor)
    assert isinstance(want.raw, Tensor)
    assert (found.raw - want.raw).norm() < 0.05 * want.raw.norm()


X = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weight", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize(
    "options",
    [
        {"target": 1},
        {"target": gh.TopK(2)},
        {"target": 1, "differentiable": True},
        {"target": 1, "sampler": gh.Augment(factors=(1.0,))},
    ],
    ids=["one", "several", "graph", "sampler"],
)
def test_gradients_that_half_precision_cannot_hold(
    weight: float, options: dict[str, object]
) -> None:
    net = Faint(weight).eval()
    want = gh.explain(net, X, "a", **options)  # type: ignore[arg-type]
    near(gh.explain(copy.deepcopy(net).half(), X.half(), "a", **options), want)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [1e-3, 1.0])
@pytest.mark.parametrize(
    ("method", "bent"),
    [
        ("guidedbackprop", functional.relu),
        ("guidedgradcam", functional.relu),
        ("fullgrad", functional.relu),
        ("shapleycam", functional.silu),
        ("opticam", functional.relu),
        ("gradcam++", functional.relu),
    ],
)
def test_methods_whose_gradients_half_precision_cannot_hold(
    method: str, bent: Callable[[Tensor], Tensor], weight: float
) -> None:
    net, options = Faint(weight, bent).eval(), CHEAP.get(method, {})
    want = gh.explain(net, X, "a", target=1, method=method, **options)  # type: ignore[arg-type]
    half = copy.deepcopy(net).half()
    found = gh.explain(half, X.half(), "a", target=1, method=method, **options)  # type: ignore[arg-type]
    alike(found, want)
    if method == "shapleycam":  # its second order is no nothing
        first = gh.explain(net, X, "a", target=1).raw
        assert (want.raw - first).norm() > 0.1 * first.norm()  # type: ignore[union-attr, operator]


def test_the_table_of_layers_tells_that_gradients_come_that_half_precision_cannot_hold() -> None:
    net = Faint(1e-5).eval()
    want, found = gh.layers(net, X), gh.layers(net.half(), X.half())
    assert [(row.name, row.gradient) for row in found] == [(row.name, row.gradient) for row in want]
    assert found.recommended == want.recommended


def test_gradients_that_autocast_cannot_hold() -> None:
    net = Faint(1e-3).eval()
    want = gh.explain(net, X, "a", target=1)
    with torch.autocast("cpu", torch.float16):
        near(gh.explain(net, X, "a", target=1), want)
        # Neither the image nor this score is of half precision; what is between them is.
        score = gh.explain(net, X, "a", target=lambda y: y[:, 1].float(), method="guidedbackprop")
    alike(score, gh.explain(net, X, "a", target=1, method="guidedbackprop"))


def test_the_scale_falls_where_the_largest_would_not_fit() -> None:
    # The gradients are the factors: 2 ** 12 is no longer finite times 2 ** 15, nor times 2 ** 7.
    x = torch.ones(2, dtype=torch.float16, requires_grad=True)
    y = (x * torch.tensor([2.0**12, 1.0], dtype=torch.float16)).sum()
    asked = []

    def backward(factor: float, retain: bool | None) -> tuple[Tensor, ...]:
        asked.append(factor)
        return torch.autograd.grad(y, x, torch.full_like(y, factor), retain_graph=retain)

    assert unscaled(backward, [torch.float16])[0].tolist() == [2.0**12, 1.0]  # type: ignore[union-attr]
    assert asked == [2.0**15, 2.0**11, 2.0**7, 2.0**3]
    assert unscaled(backward, [torch.bfloat16, torch.float32])[0].dtype == torch.float16  # type: ignore[union-attr]
    assert asked[4:] == [1.0]


@pytest.mark.parametrize("method", gh.METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers(method: str, value: float) -> None:
    net, layer = (vit(), "blocks.1") if attends(method) else (gap_linear(), "1")
    head = net.head if attends(method) else net[4]
    with torch.no_grad():
        head.bias.fill_(value)
    try:
        result = gh.explain(net, images(), layer, method=method, **CHEAP.get(method, {}))  # type: ignore[arg-type]
    except gh.GradCamHooksError:
        return  # it says what it cannot do
    words = [one for row in result.diagnosis for one in ([row] if isinstance(row, str) else row)]
    assert set(words) == {"non-finite"}
    assert "its score has a NaN or an infinity" in words[0].message  # type: ignore[attr-defined]
    assert not result.maps.any()


def test_an_image_that_is_no_numbers_leaves_concepts_to_the_others() -> None:
    x = images()
    x[0, 0, 0, 0] = torch.nan
    result = gh.explain(gap_linear(), x, "1", method="dff", concepts=2)
    assert result.diagnosis == (("non-finite",) * 2, ("ok",) * 2)
    assert result.scores[0].isnan().all()
    assert result.scores[1].isfinite().all()
    x[1, 0, 0, 0] = torch.inf
    result = gh.explain(gap_linear(), x, "1", method="dff", concepts=2)
    assert result.diagnosis == (("non-finite",) * 2,) * 2


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8)])
def test_nothing_to_explain(shape: tuple[int, ...]) -> None:
    for call in (gh.explain, gh.layers):
        with pytest.raises(gh.InputError, match=r"in which there is nothing to explain\. Pass one"):
            call(gap_linear(), torch.zeros(shape).double())


class Noted(torch.Tensor):
    """A tensor with notes, whose operations stay in the class, as MONAI's."""


@pytest.mark.parametrize("method", [name for name in gh.METHODS if not attends(name)])
def test_a_subclass_is_explained_as_the_tensor_it_is(method: str) -> None:
    options = {"target": None if method == "dff" else 1, "method": method, **CHEAP.get(method, {})}
    net, x = gap_linear(), images()
    want = gh.explain(net, x, "1", **options)  # type: ignore[arg-type]
    found = gh.explain(net, x.as_subclass(Noted), "1", **options)  # type: ignore[arg-type]
    assert type(found.maps) is Tensor
    assert torch.equal(found.maps, want.maps)


def test_a_view_that_is_yet_to_be_negated() -> None:
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    values = torch.randn(1, 3, 40)
    signal = torch.complex(torch.zeros_like(values), values).conj().imag
    assert signal.is_neg()
    result, want = (gh.explain(net, x, "0", target=1)[0] for x in (signal, -values))
    assert torch.equal(result.maps, want.maps)
    assert result.overlay().tobytes() == want.overlay().tobytes()
    assert result.overlay(signal[0]).tobytes() == want.overlay().tobytes()
