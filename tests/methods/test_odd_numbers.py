"""Odd numbers in the methods that run the network, options that are none, and blank maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.maps import finish, minmax
from gradcam_hooks.methods.concepts import factorize
from gradcam_hooks.methods.legrad import sensitivity
from gradcam_hooks.methods.transformers import loosened, relevance, rolled_out
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import gap_linear, images

# --- numbers of any size


def drawn(*shape: int) -> st.SearchStrategy[np.ndarray]:
    top = float(np.finfo(np.float32).max)
    numbers = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.floats(-2, 2, width=32),
        st.sampled_from([0.0, 1.0, -1.0, top, -top, float(np.finfo(np.float32).tiny)]),
    )
    return hnp.arrays(np.float32, shape, elements=numbers, fill=numbers)


def in_range(raw: Tensor) -> None:
    maps = finish(raw.view(*raw.shape[:-1], 2, 2), (5, 5))
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(first=drawn(1, 2, 4, 4), second=drawn(1, 2, 4, 4))
def test_attention_of_any_size_gives_maps_in_range(first: np.ndarray, second: np.ndarray) -> None:
    logits, slopes = torch.from_numpy(first), torch.from_numpy(second)
    weights = logits.softmax(-1)
    assert weights.isfinite().all()
    for fusion in ("mean", "max", "min"):
        rolled = rolled_out([weights, weights], head_fusion=fusion, discard_ratio=0.3)
        assert torch.allclose(rolled.sum(-1), torch.ones(1, 4), atol=1e-4)
        in_range(rolled[:, 0])
    in_range(relevance([weights, weights], [slopes, slopes])[:, 0])
    in_range(sensitivity([slopes, slopes]))
    in_range(loosened(logits, slopes, logits, slopes)[:, 0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(array=drawn(2, 3, 4))
def test_concepts_of_activations_of_any_size_are_finite(array: np.ndarray) -> None:
    maps, vectors = factorize(torch.from_numpy(array), 2, steps=5)
    assert maps.isfinite().all()
    assert vectors.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1 + 1e-6
    in_range(maps.flatten(0, 1))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(array=drawn(3, 4))
def test_masks_of_activations_of_any_size_lie_in_0_to_1(array: np.ndarray) -> None:
    masks = minmax(torch.from_numpy(array).view(3, 2, 2) / 2, 2)  # whose range is a number
    assert masks.isfinite().all()
    assert masks.min() >= 0
    assert masks.max() <= 1


class Spikes(nn.Module):
    """The input itself is the activation, and the head is linear."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Identity(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(x).relu().flatten(1))
        return logits


PROCEDURES = [
    name
    for name, method in gh.METHODS.items()
    if method.procedure is not None and not attends(name) and name != "cam"
]


@pytest.mark.parametrize("name", PROCEDURES)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(array=drawn(1, 2, 2, 2))
def test_procedures_on_activations_of_any_size(name: str, array: np.ndarray) -> None:
    x = torch.from_numpy(array)
    options = {**CHEAP.get(name, {}), **({"complete": False} if name == "fullgrad" else {})}
    try:
        result = gh.explain(
            Spikes(), x, "layer", method=name, target=1, layout="channels-first", **options
        )
    except gh.GradientError:  # contributions to an infinite score do not add up
        assert name == "liftcam"
        return
    assert result.maps.isfinite().all()
    assert result.maps.min() >= 0
    assert result.maps.max() <= 1


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.parametrize("printed", [False, True])
def test_cubes_of_gradients_stay_in_range(scale: float, printed: bool) -> None:
    # A change of the activation's unit by c is one of the gradient by 1 / c; no map shows it.
    maps = []
    for unit in (1.0, scale):
        net = Spikes()
        net.head.weight.data /= unit
        x = torch.linspace(0.1, 1, 8).view(1, 2, 2, 2) * unit
        options = {"samples": 2, "std": 0.05, "first_order": printed}
        result = gh.explain(
            net, x, "layer", method="smoothgradcam++", target=1, layout="channels-first", **options
        )
        assert result.diagnosis == ("coarse",)
        maps.append(result.maps)
    assert torch.allclose(*maps, atol=1e-4)


# --- options that are none


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("gradcam", {"eigen_smooth": "yes"}, "eigen_smooth= is True or False, not 'yes'"),
        ("gradcam++", {"normalize": 1}, "normalize= is True or False, not 1"),
        ("smoothgradcam++", {"first_order": None}, "first_order= is True or False, not None"),
        ("ablationcam", {"divide": "no"}, "divide= is True or False, not 'no'"),
        ("reciprocam", {"gaussian": 3}, "gaussian= is True or False, not 3"),
        ("reciprocam", {"probability": "yes"}, "probability= is True or False, not 'yes'"),
        ("groupcam", {"probability": 0}, "probability= is True or False, not 0"),
        ("rise", {"probability": 1.0}, "probability= is True or False, not 1.0"),
        ("fullgrad", {"complete": 0}, "complete= is True or False, not 0"),
        ("integratedgradcam", {"baseline": None}, "baseline= is a finite number .* not None"),
        ("integratedgradcam", {"baseline": float("nan")}, "baseline= is a finite number"),
        ("center", {"width": 0}, "width= is a number above 0, not 0"),
        ("center", {"width": "wide"}, "width= is a number above 0, not 'wide'"),
        ("sscam", {"std": float("inf")}, "std= is a number from 0 up, not inf"),
        ("opticam", {"lr": float("inf")}, "lr= is a number above 0, not inf"),
        ("attentionrollout", {"discard_ratio": "half"}, "from 0 up to under 1, not 'half'"),
        ("attentionrollout", {"discard_ratio": None}, "from 0 up to under 1, not None"),
    ],
)
def test_options_that_are_none(name: str, options: dict[str, object], told: str) -> None:
    net, layer = (vit(), "blocks.1") if attends(name) else (gap_linear(), "1")
    with pytest.raises(gh.OptionError, match=told):
        gh.explain(net, images(1), layer, method=name, target=1, **options)


# --- what is said of what cannot be told


def test_an_operation_without_second_derivative_is_an_error_with_a_next_step() -> None:
    net = nn.Sequential(*gap_linear()[:2], nn.Hardsigmoid(), *gap_linear()[2:])
    told = r"ShapleyCAM differentiates the score twice.*hardsigmoid.*Name a later layer"
    with pytest.raises(gh.GradientError, match=told):
        gh.explain(net, images(1), "1", method="shapleycam", target=1)
    later = gh.explain(net, images(1), "2", method="shapleycam", target=1)
    assert torch.equal(later.raw, gh.explain(net, images(1), "2", target=1).raw)  # a linear tail


def test_groups_under_which_the_score_never_rises_are_no_zero_gradient() -> None:
    class Against(nn.Module):
        """A score with a gradient, which every mask and the blur leave at the same value."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(x).sum((1, 2, 3))
            return torch.stack([a - a.detach(), 0 * a], 1)

    torch.manual_seed(0)
    result = gh.explain(Against().double(), images(), "conv", method="groupcam", target=0)
    assert not result.raw.any()
    assert result.diagnosis == ("constant", "constant")
    none = gh.explain(Against().double(), images(), "conv", method="groupcam", target=1)
    assert none.diagnosis == ("zero-gradient", "zero-gradient")
