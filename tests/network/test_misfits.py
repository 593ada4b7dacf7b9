"""What does not fit a network is told as what was handed over, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gradcam_hooks as gh
from gradcam_hooks.errors import InputError, LayerNotFound, OptionError
from gradcam_hooks.models import LoadedModel
from tests.support.nets import gap_linear


def net() -> nn.Module:
    return gap_linear().float()


def pictures() -> Tensor:
    return torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Takes a picture and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = net(), nn.LazyLinear(3)

    def forward(self, img: Tensor, meta: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.cat([self.body(img), meta], 1))
        return logits


def two() -> nn.Module:
    model = Two().eval()
    model(pictures(), torch.rand(2, 6))
    return model


class Strict(nn.Module):
    """Asks its input's precision first, as transformers' networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net()

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.body(pixel_values.to(pixel_values.dtype))
        return logits


LABELS = torch.tensor([1, 2])
HWC = pictures().permute(0, 2, 3, 1)

CASES: dict[str, tuple[Callable[[], nn.Module], object, str]] = {
    "a DataLoader's batch": (net, [pictures(), LABELS], r"images, labels = batch"),
    "a DataLoader": (net, DataLoader(TensorDataset(pictures())), "for images, labels in loader"),
    "a data set": (net, TensorDataset(pictures()), "a TensorDataset is no batch"),
    "a list of images": (net, list(pictures()), r"torch\.stack\(images\)"),
    "a dict of two": (two, {"img": pictures(), "meta": torch.rand(2, 6)}, r"cam\(\*\*inputs\)"),
    "a tuple of two": (two, (pictures(), torch.rand(2, 6)), r"cam\(\*inputs\)"),
    "one of two": (two, pictures(), r"takes \(img, meta\), and not all"),
    "a processor's dict": (Strict, {"pixel_values": pictures()}, r"takes these by name"),
    "pixels last": (net, HWC, r"image\.permute\(0, 3, 1, 2\)"),
    "grey": (net, pictures()[:, :1], r"image\.expand\(-1, 3, -1, -1\)"),
    "twelve bands": (net, torch.rand(1, 12, 16, 16), "the channels that it was trained on"),
    "double": (net, pictures().double(), r"Pass image\.to\(torch\.float32\)"),
    "half": (lambda: net().half(), pictures(), r"Pass image\.to\(torch\.float16\)"),
    "whole numbers": (net, (pictures() * 255).to(torch.uint8), r"images\.float\(\) / 255"),
    "an array of floats": (net, pictures().numpy(), r"a NumPy array \(2, 3, 16, 20\) float32\. A"),
    "channels first": (net, np.zeros((3, 16, 20), np.uint8), r"array\.transpose\(1, 2, 0\)"),
    "one channel last": (net, np.zeros((16, 20, 1), np.uint8), r"Pass array\[\.\.\., 0\]"),
    "bands last": (net, np.zeros((16, 20, 12), np.uint8), r"other bands"),
    "an address": (net, "https://example.org/cat.jpg", "that is an address"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_told_with_the_way_out(case: str) -> None:
    make, given, told = CASES[case]
    with pytest.raises(gh.GradCamHooksError, match=told):
        gh.explain(make().eval(), given)


@pytest.mark.parametrize("case", ["a DataLoader's batch", "a DataLoader", "pixels last", "double"])
def test_the_table_of_layers_tells_it_too(case: str) -> None:
    make, given, told = CASES[case]
    with pytest.raises(InputError, match=told):
        gh.layers(make().eval(), given)


def test_the_way_out_is_one() -> None:
    inputs = {"img": pictures(), "meta": torch.rand(2, 6)}
    with gh.GradCAM(two()) as cam:
        assert torch.equal(cam(**inputs).raw, cam(*inputs.values()).raw)
    with pytest.raises(InputError) as told:
        gh.explain(net(), HWC)
    assert "expected input[2, 16, 20, 3] to have 3 channels" in str(told.value)
    maps = gh.explain(net(), HWC.permute(0, 3, 1, 2)).maps
    assert torch.equal(maps, gh.explain(net(), pictures()).maps)


class Broken(nn.Module):
    """Fails by a fault of its own."""

    def __init__(self, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.fault = net(), fault

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(self.fault(x))
        return logits


def _without(x: Tensor) -> Tensor:
    return cast(Callable[..., Tensor], two().forward)(x)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (_without, TypeError, r"^Two\.forward\(\) missing 1"),
        (lambda x: x.nothing, AttributeError, "^'Tensor' object has no attribute 'nothing'"),
        (lambda x: x[:, :2], RuntimeError, "^Given groups=1"),
    ],
)
def test_a_fault_of_the_network_s_own_stays_what_it_is(
    fault: Callable[[Tensor], Tensor], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        gh.explain(Broken(fault), pictures())
    assert not isinstance(raised.value, gh.GradCamHooksError)


def test_a_fault_of_the_target_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        gh.explain(net(), pictures(), target=lambda y: y + "a")


def test_an_input_in_the_place_of_a_layer_or_an_option_is_told() -> None:
    with pytest.raises(LayerNotFound, match=r"not Tensor \(2, 6\)\. A network's second input"):
        gh.explain(two(), pictures(), torch.rand(2, 6))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"forward of Two takes it: .*cam\(image, meta=\.\.\.\)"):
        gh.explain(two(), pictures(), meta=torch.rand(2, 6))
    with pytest.raises(LayerNotFound, match="not int: -1"):
        gh.explain(net(), pictures(), -1)  # type: ignore[arg-type]


def test_a_misspelt_name_of_the_package_brings_the_nearest() -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(gh, "GradCam")  # noqa: B009
    assert (raised.value.name, raised.value.obj) == ("GradCam", gh)  # what Python suggests by


def test_inputs_by_name_are_taken_with_the_options() -> None:
    model, img, meta = two(), pictures(), torch.ones(2, 6)
    with gh.GradCAM(model, "body.0") as cam:
        expected = cam(img=img, meta=meta, target=1)
    result = gh.explain(model, img=img, meta=meta, layer="body.0", target=1)
    assert torch.equal(result.raw, expected.raw)
    with pytest.raises(InputError, match=r"no image is given.*explain\(model, image\)"):
        gh.explain(model)
    with pytest.raises(OptionError, match="colour"):
        gh.explain(model, img=img, meta=meta, colour="red")


def test_an_input_among_the_options_is_told_of_a_loaded_model_too() -> None:
    loaded = LoadedModel(two(), "two", "random", None, gh.Preprocess())
    for model in (loaded, loaded.model):
        with pytest.raises(OptionError, match=r"The forward of Two takes it: .*meta=\.\.\."):
            gh.explain(model, pictures(), "body.0", meta=torch.ones(2, 6))
