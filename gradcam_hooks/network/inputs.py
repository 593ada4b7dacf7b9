"""What went into the model: which argument is the image, and is it where the model is.

Knows tensors and modules; pictures on disk are `images`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from gradcam_hooks.errors import DeviceError, GradientError, InputError
from gradcam_hooks.network.outputs import tensors

__all__ = ["check_model", "copied", "find_image", "of_one", "usable", "versions", "with_image"]


def find_image(args: Sequence[object], kwargs: Mapping[str, object], model: nn.Module) -> Tensor:
    """The first floating-point tensor with space, ``(batch, channels, *space)``.

    A first argument that is a list of pictures ``(channels, height, width)``, as torchvision's
    detectors take it, is stacked.

    Raises:
        InputError: there is none, or it lacks its batch axis, or pictures differ in size.
    """
    if args and (images := _listed(args[0], model)):
        return _stacked(images)
    for tensor in _given(args, kwargs):
        if tensor.is_floating_point() and tensor.ndim >= 3:
            _check_batch_axis(tensor, model)
            return tensor
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in _given(args, kwargs))
    raise InputError(
        "among the inputs there is no image: a floating-point tensor (batch, channels, *space) is "
        f"needed, and what came is {shapes or 'no tensor at all'}."
    )


def with_image(
    args: Sequence[object], kwargs: Mapping[str, object], image: Tensor, new: Tensor
) -> tuple[list[object], dict[str, object]]:
    """The same arguments with ``new`` where ``image`` was, shapes alike."""
    return _mapped(args, kwargs, image, new, lambda tensor: tensor)


def of_one(
    args: Sequence[object],
    kwargs: Mapping[str, object],
    image: Tensor,
    index: int,
    images: Tensor,
) -> tuple[list[object], dict[str, object]]:
    """The arguments for variants of one image: what else comes with that image is repeated.

    Args:
        args: the model's positional arguments for a batch.
        kwargs: its keyword arguments.
        image: the image among them, ``(batch, channels, *space)``.
        index: which image of the batch.
        images: its variants, ``(variants, channels, *space)``.
    """

    def repeated(tensor: Tensor) -> Tensor:
        if not tensor.ndim or len(tensor) != len(image):
            return tensor
        return tensor[index : index + 1].expand(len(images), *tensor.shape[1:])

    return _mapped(args, kwargs, image, images, repeated)


def _mapped(
    args: Sequence[object],
    kwargs: Mapping[str, object],
    image: Tensor,
    new: Tensor,
    other: Callable[[Tensor], Tensor],
) -> tuple[list[object], dict[str, object]]:
    mapped = tree_map_only(
        Tensor, lambda tensor: new if tensor is image else other(tensor), (list(args), dict(kwargs))
    )
    if args and isinstance(args[0], list | tuple):  # a list of pictures, as detectors take it
        mapped[0][0] = list(new.unbind(0))
    result: tuple[list[object], dict[str, object]] = mapped
    return result


def _listed(given: object, model: nn.Module) -> list[Tensor]:
    """The pictures in a list of pictures ``(channels, height, width)``; else nothing."""
    if not isinstance(given, list | tuple):
        return []
    axes = _axes(model)
    pictures = [
        one
        for one in given
        if isinstance(one, Tensor)
        and one.is_floating_point()
        and one.ndim == 3
        and one.shape[0] in (1, 3)
        and axes in (4, None)  # to a network of signals, three axes are a batch already
    ]
    return pictures if len(pictures) == len(given) else []


def _stacked(pictures: Sequence[Tensor]) -> Tensor:
    sizes = list(dict.fromkeys(tuple(one.shape) for one in pictures))
    if len(sizes) > 1:
        raise InputError(
            f"the list holds pictures of {len(sizes)} shapes, {', '.join(map(str, sizes))}, and "
            "the maps of one call have one size. Pass one image at a time: explain(model, [image])."
        )
    return torch.stack(list(pictures))


def _check_batch_axis(image: Tensor, model: nn.Module) -> None:
    axes = _axes(model)
    if axes is not None and image.ndim == axes - 1:
        raise InputError(
            f"the input has shape {tuple(image.shape)}, and this network's first "
            f"convolution works on {axes} axes, the first of them the batch. For one image "
            "pass image[None]."
        )


def _axes(model: nn.Module) -> int | None:
    """How many axes the input of the first convolution has; None where there is no convolution."""
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return 2 + len(module.kernel_size)
    return None


def check_model(args: Sequence[object], kwargs: Mapping[str, object], model: nn.Module) -> None:
    """Raise unless the model can be explained with these inputs where both are now.

    Raises:
        DeviceError: a tensor is on another device than the model's parameters, naming both; a
            model on several devices is trusted to know its own.
        GradientError: the parameters were made under ``inference_mode``.
    """
    # The first parameter speaks for all, which is what can be afforded at every call.
    parameter = next(model.parameters(), None)
    if parameter is None:
        return
    if parameter.is_inference():
        raise GradientError(
            "the model's parameters were made under inference_mode, so PyTorch lets no gradient "
            "pass through them. Build, load or move the model outside of it, or explain "
            "copy.deepcopy(model), made outside of it."
        )
    device = parameter.device
    if device.type == "meta":
        raise DeviceError(
            "the model's parameters are on the meta device and hold no values. Load its weights, "
            "or model.to_empty(device='cpu') and draw them."
        )
    for tensor in _given(args, kwargs):
        if tensor.device != device and len({one.device for one in model.parameters()}) == 1:
            raise DeviceError(
                f"the input is on {tensor.device}, the model's parameters are on {device}. "
                f"Move one to the other: x.to({str(device)!r}) or model.to({str(tensor.device)!r})."
            )


def _given(args: Sequence[object], kwargs: Mapping[str, object]) -> Iterator[Tensor]:
    yield from tensors(list(args))
    yield from tensors(dict(kwargs))


_T = TypeVar("_T")


def copied(inputs: _T) -> _T:
    """The same inputs in memory of their own, for a model that may write to them; in the graph."""
    with torch.enable_grad():
        result: _T = tree_map_only(Tensor, Tensor.clone, inputs)
    return result


def versions(inputs: object) -> list[int]:
    """How often each tensor among the inputs was written to."""
    return [t._version for t in tensors(inputs) if not t.is_inference()]


def usable(inputs: _T) -> _T:
    """The same inputs, inference tensors copied: such a tensor can take no part in a graph."""
    result: _T = tree_map_only(Tensor, lambda t: t.clone() if t.is_inference() else t, inputs)
    return result
