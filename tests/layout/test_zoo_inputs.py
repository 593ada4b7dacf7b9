"""Signals, volumes, videos, sequences and several inputs: ``"auto"`` and an oracle.

Weights are drawn at random; the oracle and the permuted axes are in `zoo`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video import mvit, swin_transformer

import gradcam_hooks as gh
from tests.support.nets import Recurrent
from tests.support.oracle import grad_cam, oracle
from tests.support.zoo import (
    Case,
    drawn,
    equal,
    explained,
    first,
    images,
    last,
    tokens,
    vision,
)


def signal() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 9, stride=2),
        nn.ReLU(),
        nn.Conv1d(8, 12, 9, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def video_mvit() -> nn.Module:
    """Four blocks, the third of which pools the grid; 8 frames of 32 x 32 make 4 x 8 x 8."""
    even, kernel = [1, 1, 1], [3, 3, 3]
    wide = mvit.MSBlockConfig(1, 12, 12, kernel, kernel, even, [1, 4, 4])
    pooled = mvit.MSBlockConfig(1, 12, 24, kernel, kernel, [1, 2, 2], [1, 2, 2])
    deep = mvit.MSBlockConfig(2, 24, 24, kernel, kernel, even, [1, 2, 2])
    return mvit.MViT((32, 32), 8, [wide, wide, pooled, deep], True, True, True, True, num_classes=5)


def video_swin() -> nn.Module:
    return swin_transformer.SwinTransformer3d(
        [2, 4, 4], 12, [2, 2], [1, 2], [2, 2, 2], num_classes=5
    )


CASES: dict[str, Case] = {
    "1-D convolutions": (signal, ((2, 2, 200),), first),
    "3-D resnet": (lambda: vision("r3d_18"), ((1, 3, 8, 32, 48),), first),
    "video mvit": (video_mvit, ((1, 3, 8, 32, 32), (2, 3, 8, 32, 32)), tokens(1, 2, 8, 8)),
    "video swin": (video_swin, ((1, 3, 4, 32, 48), (2, 3, 8, 32, 32)), last),
    "lstm over convolutions": (Recurrent, ((2, 3, 16, 24), (1, 3, 16, 16)), first),
}

SIZED = [
    pytest.param(name, shape, id=f"{name}, {'x'.join(map(str, shape))}")
    for name, (_, shapes, _) in CASES.items()
    for shape in shapes
]


@pytest.mark.parametrize(("name", "shape"), SIZED)
def test_it_just_works_and_equals_the_oracle(name: str, shape: tuple[int, ...]) -> None:
    make, _, by_hand = CASES[name]
    torch.manual_seed(1)
    net = drawn(make())
    result = explained(net, by_hand, None, images(shape))
    assert gh.layers(net, images(shape)).recommended == result.layers[0]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("blocks.0", "b 1+(d=4 h=8 w=8) c=12"),
        ("blocks.2", "b 1+(d=4 h=4 w=4) c=24"),
        ("blocks.2.mlp", "b 1+(d=4 h=4 w=4) c=24"),
        ("blocks.3.norm1", "b 1+(d=4 h=4 w=4) c=24"),
        ("conv_proj", "b c=12 d=4 h=8 w=8"),
    ],
)
def test_the_blocks_of_a_video_transformer(layer: str, said: str) -> None:
    torch.manual_seed(1)
    result = gh.explain(drawn(video_mvit()), images((1, 3, 8, 32, 32)), layer)
    assert result.layouts == (said,)
    assert result.maps.shape == (1, 8, 32, 32)


class Siamese(nn.Module):
    """One trunk for two pictures; the score is how alike they are."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3))
        self.fc = nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        one, two = (self.trunk(x).relu().mean((2, 3)) for x in (left, right))
        logits: Tensor = self.fc(one * two)
        return logits


def test_each_call_of_a_shared_trunk() -> None:
    torch.manual_seed(1)
    net = drawn(Siamese())
    pair = images((2, 3, 16, 24)), images((2, 3, 16, 24), 8)
    with pytest.raises(gh.LayoutError, match=r"'trunk#1' sees another input.*call=0, 1"):
        gh.explainer("gradcam", net)(*pair)

    def score(output: object) -> Tensor:
        assert isinstance(output, Tensor)
        return output[:, 1]

    maps = []
    for call in (0, 1):
        result = explained(net, first, score, *pair, target=1, options={"call": call})
        assert result.layers == (f"trunk#{call}",)
        maps.append(result.maps)
    assert not torch.allclose(*maps)
    both = gh.GradCAM(net, call="all")(*pair, target=1)
    assert both.layers == ("trunk#0", "trunk#1")
    for call, raw in enumerate(both.raw):
        equal(raw, grad_cam(*oracle(net, "trunk", score, *pair, call=call)))


class Pair(nn.Module):
    """A picture and a row of numbers, by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
        self.table = nn.Linear(4, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, *, picture: Tensor, table: Tensor, scale: float = 1.0) -> Tensor:
        logits: Tensor = self.fc(self.conv(picture).mean((2, 3)) * self.table(table).sigmoid())
        return logits * scale


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 3, 16, 24)])
def test_two_inputs_by_their_names(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    net = drawn(Pair())
    inputs = {"table": images((2, 4)), "picture": images(shape), "scale": 2.0}
    result = gh.GradCAM(net)(**inputs, target=2)
    assert result.layers == ("conv",)
    assert result.maps.shape == (2, *shape[2:])
    assert set(result.diagnosis) <= {"ok", "coarse"}
    seen = oracle(net, "conv", lambda output: output[:, 2], **inputs)
    equal(result.raw, grad_cam(*seen))


class TwoHeads(nn.Module):
    """Two branches, of which each answers one of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3)
        self.right = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.left(x).relu().mean((1, 2, 3)), self.right(x).relu().mean((1, 2, 3))
        return torch.stack([one, two * 9], 1)


def test_auto_asks_for_the_gradient_of_the_target_that_was_asked_for() -> None:
    # The predicted class is the second, whose gradient comes to the last layer alone.
    torch.manual_seed(1)
    net, x = drawn(TwoHeads()), images((1, 3, 8, 12))
    assert gh.explain(net, x).layers == ("right",)
    assert gh.explain(net, x, target=0).layers == ("left",)
    with gh.GradCAM(net) as cam:  # what was chosen for one target serves another only if it can
        assert [cam(x, target=one).layers[0] for one in (1, 0, 1)] == ["right", "left", "right"]
    named = gh.explain(net, x, "right", target=0).diagnosis[0]
    assert named == "zero-gradient"
    assert "It reaches 'left'." in named.message
