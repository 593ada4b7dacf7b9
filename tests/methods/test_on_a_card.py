"""On a CUDA device: the same maps as on the CPU, and they stay there."""

from __future__ import annotations

import pytest
import torch

import gradcam_hooks as gh
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import images, residual

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("method", gh.METHODS)
def test_every_method_gives_the_map_of_the_cpu(method: str) -> None:
    net = vit() if attends(method) else residual()
    layer, x = ("blocks.1" if attends(method) else "drop"), images(2, (8, 8))
    options = {"method": method, "target": [1, 2], **CHEAP.get(method, {})}
    expected = gh.explain(net, x, layer, **options)  # type: ignore[arg-type]
    result = gh.explain(net.cuda(), x.cuda(), layer, **options)  # type: ignore[arg-type]
    assert result.maps.device.type == "cuda"
    assert torch.allclose(result.maps.cpu(), expected.maps, atol=1e-6)
    assert result.diagnosis == expected.diagnosis


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_to_float32(kind: torch.dtype) -> None:
    net, x = residual().float().cuda(), images(2, (16, 16)).float().cuda()
    expected = gh.explain(net, x, "bn2", target=1)
    result = gh.explain(net.to(kind), x.to(kind), "bn2", target=1)
    assert (result.maps.float() - expected.maps).abs().max() < 0.1
    assert result.maps.is_cuda


def test_what_is_left_on_the_card_is_what_was_there() -> None:
    net, x = residual().cuda(), images(4, (16, 16)).cuda()
    gh.explain(net, x, "bn2", target=1)
    before = torch.cuda.memory_allocated()
    random = torch.cuda.get_rng_state()
    for method in ("gradcam", "ablationcam", "rise", "shapleycam"):
        gh.explain(net, x, "bn2", method=method, target=1, **CHEAP.get(method, {}))  # type: ignore[arg-type]
        assert torch.cuda.memory_allocated() == before
    assert torch.equal(torch.cuda.get_rng_state(), random)
