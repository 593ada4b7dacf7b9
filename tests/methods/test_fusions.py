"""Fusions over layers: by hand, and RefineCAM beside the grad-cam package."""

from __future__ import annotations

import math

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.maps import FUSIONS, fuse
from tests.support.nets import images
from tests.support.ranks import RANKS, batch, curved

ONE = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
TWO = torch.tensor([[1.0, 0.5, 0.0, 1.0]])
FINE = torch.tensor([[0.0, 2.0, 6.0, 2.0]])
COARSE = torch.tensor([[1.0, 3.0]])


def test_the_product_is_zero_where_any_layer_is() -> None:
    assert fuse([ONE, TWO], "product", 1).tolist() == [[0.0, 0.25, 0.0, 1.0]]


def test_tanh_lifts_the_shallow_layer_and_takes_the_larger() -> None:
    # FINE scaled is (0, 1/3, 1, 1/3) and is lifted by tanh(2 m); the coarse map stays.
    shallow = torch.tensor([[0.0, 1 / 3, 1.0, 1 / 3]])
    deep = torch.tensor([[0.0, 0.25, 0.75, 1.0]])
    lifted = [0.0, math.tanh(2 / 3), math.tanh(2.0), 1.0]
    found = fuse([shallow, deep], "tanh", 1, [FINE, COARSE])
    assert torch.allclose(found, torch.tensor([lifted]))


def test_lnorm_divides_by_the_mean_of_the_neighbourhood_and_multiplies_the_coarse_map() -> None:
    # FINE at the resolution of COARSE is (1, 4); at four cells again, linear between the middles
    # of cells: (1, 1.75, 3.25, 4). COARSE at four cells is (1, 1.5, 2.5, 3).
    local = [1.0, 1.75, 3.25, 4.0]
    rough = [1.0, 1.5, 2.5, 3.0]
    raw = [f / a * b for f, a, b in zip(FINE[0].tolist(), local, rough, strict=True)]
    expected = torch.tensor([raw]) / max(raw)  # its smallest value is 0
    scaled = [torch.zeros(1, 4), torch.zeros(1, 4)]
    for order in ([FINE, COARSE], [COARSE, FINE]):
        assert torch.allclose(fuse(scaled, "lnorm", 1, order), expected)


@pytest.mark.parametrize("how", FUSIONS)
@pytest.mark.parametrize("rank", RANKS)
def test_every_fusion_in_every_rank_and_for_many_targets(rank: int, how: str) -> None:
    net, x = curved(rank), batch(rank)
    layers = ["1", "2"]
    many = gh.explain(net, x, layers, fuse=how, method="layercam", target=gh.TopK(2))
    assert many.maps.shape == (2, 2, *x.shape[2:])
    assert 0 <= many.maps.min() <= many.maps.max() <= 1
    for i in range(2):
        one = gh.explain(
            net, x[i : i + 1], layers, fuse=how, method="layercam", target=many.target[i : i + 1, 1]
        )
        assert torch.allclose(one.maps[0], many.maps[i, 1], atol=1e-6)


def test_refine_cam_is_the_grad_cam_packages() -> None:
    from pytorch_grad_cam import RefineCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, x = curved(2).float().requires_grad_(), batch(2, 1).float()
    with torch.no_grad():
        net[6].weight.mul_(1000)  # its Grad-CAM++ adds 1e-6 to the squares of gradients
    label = int(net(x).argmax())
    theirs = RefineCAM(net, [net[1], net[2]])(x, [ClassifierOutputTarget(label)])
    ours = gh.explain(net, x, ["1", "2"], method="refinecam").maps
    assert (torch.from_numpy(theirs) - ours).abs().max() < 1e-4


def test_an_unknown_fusion_names_those_there_are() -> None:
    with pytest.raises(gh.LayerError, match="'mean', 'max', 'product', 'tanh', 'lnorm', not 'sum'"):
        gh.explain(curved(2), images(), "1", fuse="sum")
