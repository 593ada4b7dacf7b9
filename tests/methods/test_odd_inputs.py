"""Inputs and networks of odd kinds: the right map, or a word on why there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.every import CHEAP, attends
from tests.support.nets import gap_linear, images, residual

METHODS = [one for one in gh.METHODS if not attends(one)]
FEW = ("gradcam", "ablationcam", "scorecam", "shapleycam", "fullgrad", "guidedbackprop")


def asked(net: nn.Module, x: Tensor, method: str, layer: str = "1") -> gh.Explanation:
    target = None if method == "dff" else 1
    return gh.explain(net, x, layer, method=method, target=target, **CHEAP.get(method, {}))  # type: ignore[arg-type]


LAID: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "a view": lambda x: torch.stack([x, x], -1)[..., 1],
    "turned": lambda x: x.mT.contiguous().mT,
    "backwards": lambda x: x.flip(-1).flip(-1),
    "expanded": lambda x: x[:1].expand(2, -1, -1, -1),
}


@pytest.mark.parametrize("method", FEW)
@pytest.mark.parametrize("laid", LAID)
def test_however_it_lies_in_memory(laid: str, method: str) -> None:
    net, x = gap_linear(), images()
    given = LAID[laid](x)
    before = given.clone(), given.stride(), given._version
    want, found = asked(net, given.contiguous().clone(), method), asked(net, given, method)
    assert torch.allclose(found.maps, want.maps, atol=1e-12)
    assert torch.equal(given, before[0])
    assert (given.stride(), given._version) == before[1:]


@pytest.mark.parametrize("method", METHODS)
def test_an_input_that_asks_for_its_gradient_has_none_of_ours(method: str) -> None:
    net, x = gap_linear(), images()
    want = asked(net, x, method)
    leaf = x.clone().requires_grad_()
    leaf.grad = kept = torch.full_like(leaf, 3.0)
    inner = leaf * 1.0
    for given in (leaf, inner):
        found = asked(net, given, method)
        assert torch.equal(found.maps, want.maps)
        assert not found.maps.requires_grad
    assert leaf.requires_grad
    assert inner.grad_fn is not None
    assert leaf.grad is kept
    assert bool((kept == 3).all())
    assert all(one.grad is None for one in net.parameters())


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_told_to_be_none_that_carry_gradients(kind: torch.dtype) -> None:
    x = torch.ones(2, 3, 8, 8, dtype=kind)
    for call in (gh.explain, gh.layers):
        with pytest.raises(gh.InputError, match=rf"a floating-point tensor .* needed.*{kind}"):
            call(gap_linear(), x)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_one_position(method: str) -> None:
    net = gap_linear()
    x = images(2, (1, 1))
    try:
        result = asked(net, x, method)
    except gh.GradCamHooksError:
        return
    words = {one for row in result.diagnosis for one in ([row] if isinstance(row, str) else row)}
    assert result.maps.shape[-2:] == (1, 1)
    assert result.maps.isfinite().all()
    assert words <= {"ok", "coarse", "constant", "all-negative", "zero-gradient"}
    assert words != {"ok"}


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_one_class(method: str) -> None:
    net, options = gap_linear(classes=1), dict(CHEAP.get(method, {}))
    result = gh.explain(net, images(), "1", method=method, **options)  # type: ignore[arg-type]
    assert result.maps.isfinite().all()
    assert result.maps.min() >= 0
    assert result.maps.max() <= 1


@pytest.mark.parametrize("method", FEW)
def test_denormal_numbers(method: str) -> None:
    net, x = gap_linear().float(), images().float()
    want = asked(net, x, method)
    with torch.no_grad():
        net[4].weight.mul_(2.0**-130)
        net[4].bias.mul_(2.0**-130)
    found = asked(net, x, method)
    assert found.maps.isfinite().all()
    for one, word, other in zip(found.maps, found.diagnosis, want.maps, strict=True):
        right = (one - other).norm() < 0.1 * other.norm()
        assert right or (not one.any() and word != "ok"), (method, word)


def test_a_layer_without_space_or_with_none_of_it() -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.cut = residual(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) + self.cut(x[:, :, :0]).sum()

    net = Empty()
    with pytest.raises(gh.GradCamHooksError):
        gh.explain(net, images(), "cut", target=1)
    with pytest.raises(gh.GradCamHooksError):
        gh.explain(net, images(), "body.fc", target=1)
    assert gh.explain(net, images(), target=1).raw.any()  # type: ignore[union-attr]
