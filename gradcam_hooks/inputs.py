"""What went into the model: which argument is the image, and is it where the model is.

Knows tensors and modules; pictures on disk are `images`' matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from gradcam_hooks.errors import DeviceError, GradientError, InputError
from gradcam_hooks.outputs import tensors

__all__ = ["check_model", "find_image", "usable"]


def find_image(args: Sequence[object], kwargs: Mapping[str, object], model: nn.Module) -> Tensor:
    """The first floating-point tensor with space, ``(batch, channels, *space)``.

    Raises:
        InputError: there is none, or it lacks its batch axis.
    """
    for tensor in _given(args, kwargs):
        if tensor.is_floating_point() and tensor.ndim >= 3:
            _check_batch_axis(tensor, model)
            return tensor
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in _given(args, kwargs))
    raise InputError(
        "among the inputs there is no image: a floating-point tensor (batch, channels, *space) is "
        f"needed, and what came is {shapes or 'no tensor at all'}."
    )


def _check_batch_axis(image: Tensor, model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            axes = 2 + len(module.kernel_size)
            if image.ndim == axes - 1:
                raise InputError(
                    f"the input has shape {tuple(image.shape)}, and this network's first "
                    f"convolution works on {axes} axes, the first of them the batch. For one image "
                    "pass image[None]."
                )
            return


def check_model(args: Sequence[object], kwargs: Mapping[str, object], model: nn.Module) -> None:
    """Raise unless the model can be explained with these inputs where both are now.

    Raises:
        DeviceError: a tensor is on another device than the model's parameters, naming both; a
            model on several devices is trusted to know its own.
        GradientError: the parameters were made under ``inference_mode``.
    """
    parameters = list(model.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        raise GradientError(
            "the model's parameters were made under inference_mode, so PyTorch lets no gradient "
            "pass through them. Build, load or move the model outside of it, or explain "
            "copy.deepcopy(model), made outside of it."
        )
    devices = {parameter.device for parameter in parameters}
    if len(devices) != 1:
        return
    device = devices.pop()
    for tensor in _given(args, kwargs):
        if tensor.device != device:
            raise DeviceError(
                f"the input is on {tensor.device}, the model's parameters are on {device}. "
                f"Move one to the other: x.to({str(device)!r}) or model.to({str(tensor.device)!r})."
            )


def _given(args: Sequence[object], kwargs: Mapping[str, object]) -> Iterator[Tensor]:
    yield from tensors(list(args))
    yield from tensors(dict(kwargs))


_T = TypeVar("_T")


def usable(inputs: _T) -> _T:
    """The same inputs, inference tensors copied: such a tensor can take no part in a graph."""
    result: _T = tree_map_only(Tensor, lambda t: t.clone() if t.is_inference() else t, inputs)
    return result
