"""Nothing of a call is alive once its result is dropped: other public calls, targets, options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.models import LoadedModel
from tests.support.live import flat, frozen
from tests.support.nets import gap_linear, images, residual

_frozen = pytest.fixture(autouse=True)(frozen)


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 3, 1)).double()


class Detector(nn.Module):
    """Boxes and their scores as torchvision's detectors give them, in the graph."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        seen = self.fc(self.conv(x).sigmoid().mean((2, 3)))
        return [
            {"boxes": one[:4].sigmoid().cumsum(0)[None] * 2, "scores": one[4:5].sigmoid(),
             "labels": torch.tensor([1])}
            for one in seen
        ]  # fmt: skip


class Words(nn.Module):
    """A vector of the vocabulary behind each of three words."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3 * 7)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.conv(x).sigmoid().mean((2, 3))).unflatten(1, (3, 7))
        return logits


X = images(1)
TARGETS: dict[str, tuple[Callable[[], nn.Module], object]] = {
    "segment": (dense, gh.Segment(2)),
    "region": (dense, gh.Segment(1, torch.ones(8, 8, dtype=torch.bool))),
    "box": (lambda: Detector().double(), gh.Box([1.0, 2.0, 3.0, 4.0], 1)),
    "token": (lambda: Words().double(), gh.Token(2)),
    "several": (gap_linear, gh.TopK(2)),
    "difference": (gap_linear, gh.Difference(0, 1)),
    "probability": (gap_linear, gh.Probability(1)),
    "rest": (gap_linear, gh.ReST(1)),
    "finer": (gap_linear, gh.Finer(1)),
    "similarity": (gap_linear, gh.Similarity(torch.ones(5).double())),
    "function": (gap_linear, lambda output: output[:, 1]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_of_every_target(name: str) -> None:
    make, target = TARGETS[name]
    net = make()
    assert gh.explain(net, X, target=target).raw.any()  # type: ignore[arg-type, union-attr]
    flat(lambda: gh.explain(net, X, target=target))  # type: ignore[arg-type]


OPTIONS: dict[str, dict[str, object]] = {
    "noise": {"sampler": gh.Noise(samples=2)},
    "integrate": {"sampler": gh.Integrate(steps=2)},
    "augment": {"sampler": gh.Augment()},
    **{f"fused by {name}": {"layer": ["bn1", "bn2"], "fuse": name}
       for name in ("mean", "max", "product", "tanh", "lnorm")},
    "own": {"method": lambda activation, gradient: (activation * gradient).sum(1)},
    "by name": {"output": "logits"},
    "smooth": {"method": "gradcam", "eigen_smooth": True},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_of_every_option(name: str) -> None:
    net: nn.Module = residual()
    options = {"layer": "bn2", "target": 1, **OPTIONS[name]}
    if name == "by name":
        net, options["layer"] = nn.Sequential(net, nn.Softmax(1)), "0.bn2"
    flat(lambda: gh.explain(net, X, **options))  # type: ignore[arg-type]


def test_of_the_other_calls(tmp_path: Path) -> None:
    net = gap_linear().float()
    loaded = LoadedModel(net, "net", "made here", None, gh.Preprocess(size=(32, 32)))
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    flat(lambda: gh.layers(net, X.float()))
    flat(lambda: gh.layers(loaded, tmp_path / "a.png"))
    flat(lambda: gh.explain(loaded, tmp_path / "a.png").overlay())
    flat(lambda: gh.compare(loaded, tmp_path / "a.png", methods=["gradcam", "cam"], layers=["1"]))
    flat(lambda: gh.report(loaded, tmp_path / "a.png", out=tmp_path / "out", layer="1", again=True))


def test_after_errors() -> None:
    net = residual()

    def work() -> None:
        for wrong in ({"target": 99}, {"layer": "nowhere"}, {"method": "cam", "layer": "bn1"}):
            with pytest.raises(gh.GradCamHooksError):
                gh.explain(net, X, **{"layer": "bn2", **wrong})  # type: ignore[arg-type]

    flat(work)
