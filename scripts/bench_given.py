"""The networks that `bench_networks` hands to every way, and the inputs they get.

They are those of the tests' zoo, one of every family of convolutional networks, signals, videos,
and some with several inputs or with outputs that are no tensor; weights are drawn at random. Where
a network takes pictures of any shape, it gets a square one and an oblong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from tests.layout.test_zoo import CASES
from tests.support import networks
from tests.support.nets import Recurrent
from tests.support.zoo import ByHand, first, last, tokens, vision

__all__ = ["NETWORKS", "Given", "Shape"]

Shape = tuple[int, ...]


class Heads(nn.Module):
    """Logits among other things, as ``kind`` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2))
        self.classes, self.weight = nn.Linear(12, 5), nn.Linear(12, 1)
        self.kind = kind

    def forward(self, x: Tensor) -> object:
        features = self.features(x).relu()
        pooled = features.mean((2, 3))
        logits = self.classes(pooled)
        if self.kind == "dict":
            return {"features": features, "logits": logits, "weight": self.weight(pooled)[:, 0]}
        return logits, features


class Pair(nn.Module):
    """Two pictures of unlike sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(1, 8, 5, 4)
        self.classes = nn.Linear(8, 5)

    def forward(self, near: Tensor, far: Tensor) -> Tensor:
        gates = self.far(far).relu().mean((2, 3))
        logits: Tensor = self.classes(
            (self.near(near).relu() * gates[..., None, None]).mean((2, 3))
        )
        return logits


class Gated(Pair):
    """The same with a mask that goes by keyword alone."""

    def forward(self, near: Tensor, far: Tensor, *, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(near * mask, far)


@dataclass(frozen=True)
class Given:
    """A network under test.

    Attributes:
        make: builds it; heads of zeros are drawn afterwards.
        trials: the shapes of its inputs, at each trial; it must be right at all.
        by_hand: from what the layer gives that this library chose, to channels first.
        keywords: the names of the last inputs, where they go by keyword.
    """

    make: Callable[[], nn.Module]
    trials: tuple[tuple[Shape, ...], ...]
    by_hand: ByHand
    keywords: tuple[str, ...] = ()

    @classmethod
    def picture(cls, make: Callable[[], nn.Module], by_hand: ByHand, *shapes: Shape) -> Given:
        """A network of one input, which is tried at these shapes."""
        return cls(make, tuple((shape,) for shape in shapes), by_hand)


def _convolutional(network: networks.Network) -> Given:
    side = max(network.size)
    return Given.picture(network.build, first, (1, 3, side, side), (1, 3, *network.size))


def _signal() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv1d(2, 8, 9, stride=2), nn.ReLU(), nn.Conv1d(8, 12, 9, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4)),
    )


def _mvit() -> nn.Module:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    blocks = [
        MSBlockConfig(1, 16, 16, [], [3, 3, 3], [], [1, 2, 2]),
        MSBlockConfig(2, 16, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
        MSBlockConfig(2, 32, 32, [], [3, 3, 3], [], [1, 1, 1]),
    ]
    net: nn.Module = MViT(
        (32, 48), 4, blocks, residual_pool=False, residual_with_cls_embed=True,
        rel_pos_embed=False, proj_after_attn=False, num_classes=5,
    )  # fmt: skip
    return net


NETWORKS: dict[str, Given] = {
    **{
        name: Given.picture(make, by_hand, *shapes)
        for name, (make, shapes, by_hand) in CASES.items()
    },
    **{f"{one.zoo} {one.name}": _convolutional(one) for one in networks.NETWORKS},
    "1-D convolutions": Given.picture(_signal, first, (2, 2, 200)),
    "torchvision r3d": Given.picture(lambda: vision("r3d_18"), first, (1, 3, 8, 32, 48)),
    "torchvision video swin": Given.picture(lambda: vision("swin3d_t"), last, (1, 3, 4, 64, 96)),
    "torchvision mvit": Given.picture(_mvit, tokens(1, 2, 8, 8), (1, 3, 4, 32, 48)),
    "lstm over convolutions": Given.picture(Recurrent, first, (2, 3, 16, 24), (2, 3, 16, 16)),
    "a dict of outputs": Given.picture(lambda: Heads("dict"), first, (1, 3, 32, 48)),
    "a tuple of outputs": Given.picture(lambda: Heads("tuple"), first, (2, 3, 32, 48)),
    "two inputs": Given(Pair, (((1, 3, 32, 48), (1, 1, 24, 24)),), first),
    "two inputs and a keyword": Given(
        Gated, (((1, 3, 32, 48), (1, 1, 24, 24), (1, 1, 32, 48)),), first, ("mask",)
    ),
}
