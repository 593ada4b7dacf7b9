"""The ways to make a Grad-CAM map that the benchmark sets side by side, each as its readme says.

`opened` gives a way's finished maps, for time and memory; `RAW` gives its signed map at the layer's
resolution, for right and wrong. A way imports its own library alone, when it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PLAIN", "RAW", "WAYS", "MapFunction", "opened"]

PLAIN = "plain inference"
WAYS = (PLAIN, "gradcam_hooks", "grad-cam", "torchcam", "captum")

MapFunction = Callable[[Tensor, list[int]], Tensor]
"""Images ``(batch, 3, height, width)`` and a class for each to maps ``(batch, height, width)``."""


def _finished(cam: Tensor, size: Sequence[int]) -> Tensor:
    """For libraries that stop at the layer's resolution: what their user does next."""
    maps = functional.interpolate(cam, tuple(size), mode="bilinear")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


@contextmanager
def opened(way: str, model: nn.Module, layer: str) -> Iterator[MapFunction]:
    """A way made ready once for many calls; plain inference returns the logits."""
    module = model.get_submodule(layer)
    if way == PLAIN:

        def infer(images: Tensor, classes: list[int]) -> Tensor:
            with torch.inference_mode():
                logits: Tensor = model(images)
            return logits

        yield infer
    elif way == "gradcam_hooks":
        import gradcam_hooks as gh

        with gh.GradCAM(model, layer) as explainer:
            yield lambda images, classes: explainer(images, target=classes).maps
    elif way == "grad-cam":
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAM(model, [module]) as peer:
            yield lambda images, classes: torch.from_numpy(
                peer(images, [ClassifierOutputTarget(one) for one in classes])
            )
    elif way == "torchcam":
        from torchcam.methods import GradCAM as TorchCAM

        with TorchCAM(model, layer) as extractor:

            def extract(images: Tensor, classes: list[int]) -> Tensor:
                scores = model(images)
                (cam,) = extractor(classes, scores, normalized=False)
                return _finished(cam[:, None], images.shape[2:])

            yield extract
    elif way == "captum":
        from captum.attr import LayerGradCam

        attribution = LayerGradCam(model, module)

        def attribute(images: Tensor, classes: list[int]) -> Tensor:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require")
                cam = attribution.attribute(images, target=classes, relu_attributions=True)
            return _finished(cam.detach(), images.shape[2:])

        yield attribute
    else:
        raise ValueError(f"no way {way!r}; the ways are {', '.join(WAYS)}")


RawFunction = Callable[[nn.Module, str, Tensor, list[int], bool], Tensor]
"""Model, layer, images, a class for each, whether the layer's channels are last: the signed map."""


def _raw_ours(
    model: nn.Module, layer: str, images: Tensor, classes: list[int], last: bool
) -> Tensor:
    import gradcam_hooks as gh

    raw = gh.explain(model, images.detach(), layer, target=classes).raw
    assert isinstance(raw, Tensor)  # one layer was named
    return raw


def _first(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2)


def _raw_grad_cam(
    model: nn.Module, layer: str, images: Tensor, classes: list[int], last: bool
) -> Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    raws: list[Tensor] = []

    class Keeping(GradCAM):  # type: ignore[misc]  # the peer has no types
        def get_cam_image(self, *args: object) -> object:
            raw = super().get_cam_image(*args)
            raws.append(torch.from_numpy(raw))
            return raw

    module = model.get_submodule(layer)
    with Keeping(model, [module], reshape_transform=_first if last else None) as cam:
        cam(images, [ClassifierOutputTarget(one) for one in classes])
    return raws[0]


def _raw_torchcam(
    model: nn.Module, layer: str, images: Tensor, classes: list[int], last: bool
) -> Tensor:
    from torchcam.methods import GradCAM

    given: Any = {"reshape_transform": _first} if last else {}  # which torchcam 0.4 has not
    with GradCAM(model, layer, **given) as extractor:
        extractor._relu = False  # the sign is wanted: a blank map would agree too easily
        scores = model(images)
        (cam,) = extractor(classes, scores, normalized=False)
    raw: Tensor = cam
    return raw


def _raw_captum(
    model: nn.Module, layer: str, images: Tensor, classes: list[int], last: bool
) -> Tensor:
    from captum.attr import LayerGradCam

    cam: Tensor = LayerGradCam(model, model.get_submodule(layer)).attribute(images, target=classes)
    return cam.detach()[:, 0]


def _raw_full_backward_hook(
    model: nn.Module, layer: str, images: Tensor, classes: list[int], last: bool
) -> Tensor:
    kept: dict[str, Tensor] = {}

    def forward(module: nn.Module, args: object, output: Tensor) -> None:
        kept["activation"] = output.detach()

    def backward(module: nn.Module, grad_input: object, grad_output: tuple[Tensor, ...]) -> None:
        kept["gradient"] = grad_output[0]

    module = model.get_submodule(layer)
    handles = (
        module.register_forward_hook(forward),
        module.register_full_backward_hook(backward),
    )
    try:
        scores = model(images)
        torch.autograd.grad(scores[range(len(classes)), classes].sum(), images)
    finally:
        for handle in handles:
            handle.remove()
    activation, gradient = kept["activation"], kept["gradient"]
    if last:
        activation, gradient = _first(activation), _first(gradient)
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)


RAW: dict[str, RawFunction] = {
    "gradcam_hooks": _raw_ours,
    "grad-cam": _raw_grad_cam,
    "torchcam": _raw_torchcam,
    "captum": _raw_captum,
    "full backward hook": _raw_full_backward_hook,
}
