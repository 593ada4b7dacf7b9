"""What PyTorch refuses in a model is told as what the model does, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradcam_hooks as gh
from gradcam_hooks.network.refused import refusals_told
from tests.support.nets import gap_linear


def picture() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Tutorial(nn.Module):
    """Registers a hook on a tensor in its forward, as tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = gap_linear().float()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.body[1](self.body[0](x))
        seen.register_hook(lambda gradient: None)
        logits: Tensor = self.body[2:](seen)
        return logits


class Caching(nn.Module):
    """Keeps a tensor that its first forward made, as detectors keep their anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = gap_linear().float()
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        seen = self.body[1](self.body[0](x))
        if self.grid is None:
            self.grid = torch.linspace(0.5, 1, seen.shape[-1])
        logits: Tensor = self.body[2:](seen * self.grid)
        return logits


class Checkpointed(nn.Module):
    """Runs its convolutions again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()
        )
        self.fc = nn.Linear(6, 3)
        self.again = True

    def forward(self, x: Tensor) -> Tensor:
        seen = checkpoint(self.part, x, use_reentrant=False) if self.again else self.part(x)
        logits: Tensor = self.fc(seen.mean((2, 3)))
        return logits


def used(model: nn.Module) -> nn.Module:
    with torch.inference_mode():
        model(picture())
    return model


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.mark.parametrize(
    ("make", "layer", "method", "error", "told"),
    [
        (Tutorial, "auto", "gradcam", gh.GradientError, r"registers a hook on a tensor"),
        (Tutorial, "body.1", "eigencam", gh.GradientError, r"if x\.requires_grad"),
        (lambda: used(Caching()), "body.1", "gradcam", gh.GradientError, r"keeps a tensor, grid,"),
        (lambda: used(Caching()), "auto", "layercam", gh.GradientError, r"Clear it"),
        (Checkpointed, "auto", "guidedbackprop", gh.GradientError, r"Turn checkpointing off"),
        (Checkpointed, "auto", "fullgrad", gh.GradientError, r"Turn checkpointing off"),
        (lazy, "0", "gradcam", gh.InputError, r"lazy layers .* Run it once"),
    ],
)
def test_what_is_refused_is_told_with_the_way_out(
    make: Callable[[], nn.Module], layer: str, method: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        gh.explain(make(), picture(), layer, target=1, method=method)


def test_the_table_of_layers_tells_it_too() -> None:
    with pytest.raises(gh.InputError, match="lazy layers"):
        gh.layers(lazy(), picture())


def test_a_checkpointed_model_is_explained_by_what_needs_no_replaced_operation() -> None:
    net, x = Checkpointed(), picture()
    for layer in ("part.1", "part.4", "part"):
        net.again = True
        here = gh.explain(net, x, layer, target=1).raw
        net.again = False
        assert torch.allclose(here, gh.explain(net, x, layer, target=1).raw, atol=1e-7)


def test_other_errors_of_a_model_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="its own"), refusals_told(nn.Identity()):
        raise RuntimeError("its own")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([picture(), torch.tensor([1])], r"a list,\s0: \(2, 3, .*\s1: \(1,\) torch.int64"),
        ((picture(), [1]), r"a tuple,"),
        ({"image": picture(), "label": torch.tensor([1])}, r"a dict,\s'image': \(2, 3, "),
    ],
)
def test_a_batch_of_a_loader_with_its_labels_is_told(given: object, shown: str) -> None:
    words = shown + r"[\s\S]*TypeError: [\s\S]*the images alone, as in images, labels = batch"
    for call in (gh.explain, gh.layers):
        with pytest.raises(gh.InputError, match=words):
            call(gap_linear().float(), given)


def test_an_error_of_a_model_that_was_given_plain_tensors_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="its own"), refusals_told(nn.Identity(), [picture()]):
        raise TypeError("its own")


class Part(nn.Module):
    """A part of it is scripted, which takes no hooks."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()
        self.first = torch.jit.trace(first, picture())
        self.second, self.fc = nn.Conv2d(4, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.second(self.first(x)).relu().mean((2, 3)))
        return logits


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_part_takes_no_hooks_and_the_rest_does() -> None:
    net, x = Part().eval(), picture()
    named = gh.explain(net, x, "second", target=1)
    assert torch.equal(gh.explain(net, x, target=1).raw, named.raw)
    assert gh.layers(net, x).recommended == "second"
    assert gh.explain(net, x * torch.nan, "second", target=1).diagnosis[0] == "non-finite"
    with pytest.raises(gh.LayerError, match=r"'first' is scripted or traced .* around it"):
        gh.explain(net, x, "first", target=1)
