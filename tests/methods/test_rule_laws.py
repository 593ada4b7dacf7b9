"""What holds of every rule, or of a few by theory, whatever the activations and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.maps import finish
from tests.support.nets import gap_linear, images, residual

SPACES = [(7,), (3, 4), (2, 3, 4)]
NAMES = [name for name, method in gh.METHODS.items() if method.rule is not None]


def drawn(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(shape, dtype=torch.float64, generator=generator),
        torch.randn(shape, dtype=torch.float64, generator=generator),
    )


# --- identities on a network of global average pool and linear layer


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "xgradcam"])
def test_on_a_gap_linear_network_it_is_cam(name: str) -> None:
    model, x = gap_linear(), images()
    activation = model[:2](x)
    cam = torch.einsum("tc,bcij->btij", model[4].weight, activation)
    got = gh.explain(model, x, "1", method=name, target=gh.AllClasses())
    assert torch.allclose(got.raw * activation[0, 0].numel(), cam, atol=1e-12)


def test_on_a_gap_linear_network_the_weights_of_gradcam_plus_plus() -> None:
    model, x = gap_linear(), images()
    activation = model[:2](x)
    count = activation[0, 0].numel()
    gradient = (model[4].weight / count)[None]  # (1, targets, channels)
    weights = count * gradient.relu() / (2 + gradient * activation.sum((2, 3))[:, None])
    expected = torch.einsum("btc,bcij->btij", weights, activation)
    got = gh.explain(model, x, "1", method="gradcam++", target=gh.AllClasses())
    assert torch.allclose(got.raw, expected, atol=1e-12)


def test_gradcam_plus_plus_nears_gradcam_plus_as_gradients_shrink() -> None:
    activation, gradient = drawn(2, 5, 4, 4)
    got = gh.METHODS["gradcam++"].rule(activation, gradient * 1e-9)
    expected = gh.METHODS["gradcam+"].rule(activation, gradient * 1e-9) * 16 / 2
    assert torch.allclose(got * 1e9, expected * 1e9, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
def test_layercam_is_elementwise_where_activations_are_not_negative(space: tuple[int, ...]) -> None:
    activation, gradient = drawn(2, 5, *space)
    activation = activation.relu()
    layercam, elementwise = gh.METHODS["layercam"].rule, gh.METHODS["elementwise"].rule
    assert torch.equal(layercam(activation, gradient), elementwise(activation, gradient))


def test_where_the_head_sees_one_cell_two_methods_stay_inside_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), Corner(), nn.Linear(6, 5))
    model.double()
    outside = {}
    for name in ("gradcam", "hirescam", "layercam"):
        raw = gh.explain(model, images(), "1", method=name, target=gh.AllClasses()).raw
        assert raw[..., 2, 3].any()
        raw[..., 2, 3] = 0
        outside[name] = bool(raw.any())
    assert outside == {"gradcam": True, "hirescam": False, "layercam": False}


class Corner(nn.Module):
    """Of all positions, one."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 2, 3]


# --- laws of every rule


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_laws(name: str, space: tuple[int, ...]) -> None:
    rule = gh.METHODS[name].rule
    activation, gradient = drawn(3, 5, *space)
    activation = activation**3  # some values rare enough for FEM
    raw = rule(activation, gradient)
    assert raw.shape == (3, *space)
    assert raw.any()

    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(rule(activation[:, order], gradient[:, order]), raw, atol=1e-10)

    for i in range(3):
        alone = rule(activation[i : i + 1], gradient[i : i + 1])
        assert torch.allclose(alone[0], raw[i], atol=1e-12)

    flipped = rule(activation.flip(-1), gradient.flip(-1))
    assert torch.allclose(flipped.flip(-1), raw, atol=1e-10)

    # What one position or another holds matters, and not how they are laid out.
    line = rule(activation.flatten(2), gradient.flatten(2))
    assert torch.allclose(line, raw.flatten(1), atol=1e-12)

    single = rule(activation.float(), gradient.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), raw, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_tells_which_maps_look_at_the_gradient(name: str) -> None:
    method = gh.METHODS[name]
    activation, gradient = drawn(2, 5, 3, 4)
    activation = activation**3
    other = drawn(2, 5, 3, 4, seed=1)[1]
    same = torch.equal(method.rule(activation, gradient), method.rule(activation, other))
    assert same != method.needs_gradients
    assert method.class_specific == method.needs_gradients
    assert (" B" in method.passes) == method.needs_gradients
    zero = method.rule(activation, torch.zeros_like(gradient))
    assert bool(zero.any()) != method.needs_gradients


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_vmapped_over_targets_is_the_loop(name: str, space: tuple[int, ...]) -> None:
    rule = gh.METHODS[name].rule
    activation, _ = drawn(2, 5, *space)
    gradient = drawn(4, 2, 5, *space, seed=1)[0]
    gradient[2] = 0
    got = torch.vmap(rule, in_dims=(None, 0))(activation, gradient)
    expected = torch.stack([rule(activation, one) for one in gradient])
    assert torch.allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_all_classes_at_once_is_each_class_alone(name: str) -> None:
    model, x = residual(), images()
    every = gh.explain(model, x, "conv2", method=name, target=gh.AllClasses())
    assert every.raw.shape == (2, 3, 8, 8)
    for target in range(3):
        alone = gh.explain(model, x, "conv2", method=name, target=target)
        assert torch.allclose(every.raw[:, target], alone.raw, atol=1e-12)
        assert torch.allclose(every.maps[:, target], alone.maps, atol=1e-6)
    differ = not torch.allclose(every.raw[:, 0], every.raw[:, 1])
    assert differ == gh.METHODS[name].class_specific


NETS = {
    1: lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 7, 5)),
    2: lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 12, 5)),
    3: lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 24, 5)),
}


@pytest.mark.parametrize("rank", NETS)
@pytest.mark.parametrize("name", NAMES)
def test_explained_in_every_rank(name: str, rank: int) -> None:
    torch.manual_seed(rank)
    model = NETS[rank]().double()
    size = {1: (9,), 2: (5, 6), 3: (4, 5, 6)}[rank]
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    got = gh.explain(model, x, "1", method=name, target=2)

    activation = model[:2](x)
    score = model[2:](activation)[:, 2].sum()
    (gradient,) = torch.autograd.grad(score, activation)
    raw = gh.METHODS[name].rule(activation.detach(), gradient)
    assert torch.allclose(got.raw, raw, atol=1e-12)
    assert torch.allclose(got.maps, finish(raw, size))
    assert got.method == name
    assert all(parameter.grad is None for parameter in model.parameters())


# --- what no activation or gradient may break


def arrays(kind: type[np.floating], bits: int) -> st.SearchStrategy[np.ndarray]:
    """Zeros, constants, and numbers of any size, the smallest and the largest among them."""
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
    channels = st.integers(1, 6)
    numbers = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False, width=bits),
        st.floats(-2, 2, width=bits),
        st.sampled_from([0.0, 1.0, -1.0]),
        st.sampled_from([float(np.finfo(kind).max), float(np.finfo(kind).tiny)]),
    )
    return st.tuples(channels, shapes).flatmap(
        lambda drawn: hnp.arrays(kind, (2, 2, drawn[0], *drawn[1]), elements=numbers, fill=numbers)
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(pair=st.one_of(arrays(np.float32, 32), arrays(np.float64, 64)))
def test_maps_are_finite_and_in_0_to_1(name: str, pair: np.ndarray) -> None:
    activation, gradient = torch.from_numpy(pair)
    raw = gh.METHODS[name].rule(activation, gradient)
    assert raw.shape == (2, *activation.shape[2:])
    maps = finish(raw, [5] * (activation.ndim - 2))
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "kpcacam"])  # kernels have one
def test_the_unit_of_the_activation_does_not_show_in_the_map(name: str, scale: float) -> None:
    # A change of the activation's unit by c is one of the gradient by 1/c: the score stays.
    activation, gradient = (one.float() for one in drawn(2, 5, 3, 4))
    activation = activation**3
    rule = gh.METHODS[name].rule
    plain = finish(rule(activation, gradient), (6, 8))
    assert plain.any()
    got = finish(rule(activation * scale, gradient / scale), (6, 8))
    assert torch.allclose(got, plain, atol=1e-3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_shows_in_its_own_image_only(name: str, bad: float) -> None:
    rule = gh.METHODS[name].rule
    activation, gradient = drawn(2, 5, 3, 4)
    activation = activation**3
    plain = rule(activation, gradient)
    activation[1, 2, 1, 1] = bad
    raw = rule(activation, gradient)
    assert torch.allclose(raw[0], plain[0], atol=1e-12)
    assert not raw[1].isfinite().all()
