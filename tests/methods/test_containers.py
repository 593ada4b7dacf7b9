"""Methods that run variants of the image, in any container: the map is that of the plain tensor."""

from __future__ import annotations

from collections import UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh

METHODS: dict[str, dict[str, object]] = {
    "gradcam": {},
    "scorecam": {},
    "ablationcam": {},
    "rise": {"masks": 8},
    "smoothgradcam++": {"samples": 2},
    "integratedgradcam": {"steps": 2},
    "groupcam": {"groups": 2},
    "opticam": {"steps": 2},
    "sscam": {"samples": 2},
    "reciprocam": {},
    "fullgrad": {},
    "guidedbackprop": {},
}
Named = namedtuple("Named", ["age", "image"])


@dataclass
class Batch:
    age: Tensor
    image: Tensor


@dataclass(frozen=True, slots=True)
class Frozen:
    age: Tensor
    image: Tensor
    size: tuple[int, int] = field(default=(6, 7), init=False)


class NestedTensor:
    """As DETR's, with attributes for anything."""

    def __init__(self, age: Tensor, image: Tensor) -> None:
        self.image, self.age = image, age


def feature(age: Tensor, image: Tensor) -> object:
    from transformers import BatchFeature

    return BatchFeature({"age": age, "image": image})


def listed(age: Tensor, image: Tensor) -> object:
    return [{"image": one, "age": old} for one, old in zip(image, age, strict=True)]


KINDS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "dict": lambda age, image: {"age": age, "image": image},
    "mapping": lambda age, image: MappingProxyType({"age": age, "image": image}),
    "UserDict": lambda age, image: UserDict(age=age, image=image),
    "BatchFeature": feature,
    "dataclass": Batch,
    "frozen": Frozen,
    "named tuple": Named,
    "namespace": lambda age, image: SimpleNamespace(age=age, image=image),
    "object": NestedTensor,
    "list of dicts": listed,
    "list of batches": lambda age, image: [image, age],
    "deep": lambda age, image: {"x": [Batch(age, image)], "more": ("a", None)},
}


class Net(nn.Module):
    """Takes the image and an age that its channels are weighed by; or both in a container."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, batch: object, age: Tensor | None = None) -> Tensor:
        image, age = (batch, age) if isinstance(batch, Tensor) else opened(batch)
        assert isinstance(image, Tensor)
        assert age is not None
        logits: Tensor = self.fc(self.relu(self.conv(image)).mean((2, 3)) * age)
        return logits


def opened(batch: object) -> tuple[Tensor, Tensor]:
    if isinstance(batch, list):
        if isinstance(batch[0], Tensor):
            return batch[0], batch[1]
        return torch.stack([one["image"] for one in batch]), torch.stack(
            [one["age"] for one in batch]
        )
    if hasattr(batch, "image"):
        return batch.image, batch.age  # type: ignore[attr-defined]
    if "x" in batch:  # type: ignore[operator]
        return opened(batch["x"][0])  # type: ignore[index]
    return batch["image"], batch["age"]  # type: ignore[index]


CHANCE = torch.Generator().manual_seed(1)
IMAGE, AGE = torch.rand(2, 3, 6, 7, generator=CHANCE), torch.rand(2, 4, generator=CHANCE)


def raw(method: str, *inputs: object) -> Tensor:
    seed = torch.Generator().manual_seed(2)
    explainer = gh.explainer(method, Net().eval(), "conv", generator=seed, **METHODS[method])
    result = explainer(*inputs, target=1).raw
    assert isinstance(result, Tensor)
    return result


@pytest.fixture(scope="module")
def plain() -> dict[str, Tensor]:
    return {method: raw(method, IMAGE, AGE) for method in METHODS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_that_of_the_plain_tensor(
    method: str, kind: str, plain: dict[str, Tensor]
) -> None:
    image, age = IMAGE.clone(), AGE.clone()
    batch = KINDS[kind](age, image)
    found = raw(method, batch)
    assert plain[method].abs().amax() > 0
    torch.testing.assert_close(found, plain[method])
    assert image.equal(IMAGE)
    given = opened(batch)
    if kind != "list of dicts":
        assert given[0] is image
        assert given[1] is age
