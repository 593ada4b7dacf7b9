"""Where among the inputs of a model the image is that the map lies on: by rule, or as users say.

Knows tensors, containers and the kind of a model's first convolution.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import InputError
from gradcam_hooks.network.tree import Key, Path, at, children, drawn, tensors, walk

__all__ = ["Given", "ImageSpec", "Place", "find_place", "image_at"]

Given = tuple[tuple[object, ...], dict[str, object]]
"""A call's arguments: the positional ones and those by keyword."""


ImageSpec = str | int | None
"""Which input the map lies on: an argument's name or index, a way into it (``"batch.image"``,
``"0"``), or None for the first that can be one."""


@dataclass(frozen=True)
class Place:
    """Where the image is: the way to a tensor, or to a list of pictures.

    Attributes:
        path: from ``(args, kwargs)`` to it.
        inside: in a list of pictures, the way from each of its elements to the picture; else None.
    """

    path: Path
    inside: Path | None = None


def find_place(given: Given, model: nn.Module, spec: ImageSpec, rank: int | None) -> Place:
    """Where the image is, by the user's word or by rule.

    Args:
        given: the model's arguments.
        model: whose first convolution tells how many axes an input has.
        spec: the user's word on which input it is.
        rank: how many axes it has, where that is known.

    Raises:
        InputError: there is none, or it lacks its batch axis, or nothing has the name.
    """
    if spec is not None:
        way = _way(given, model, spec)
        asked = at(given, way)
        if isinstance(asked, Tensor):
            return Place(way)
        within: object = asked
    else:
        way, within = (), given
    for path, part in walk(within):
        argument = len(way) + len(path) > 1  # rather than all of them together
        if argument and (inside := _inside(part, model)) is not None:
            return Place((*way, *path), inside)
        if isinstance(part, Tensor) and part.is_floating_point() and _fits(part, rank):
            if rank is None and spec is None:
                _check_batch_axis(part, model)
            return Place((*way, *path))
    series = [path for path, part in walk(within) if _is_series(part)]
    if rank is None and len(series) == 1 and _axes(model) is not None:
        return Place((*way, *series[0]))  # samples, (batch, time), of which the network makes more
    shapes = [_shape(one) for one in tensors(within)]
    came = ", ".join(shapes) or _no_tensor(within)
    wanted = "(batch, channels, *space)" if rank is None else f"of {rank} axes"
    raise InputError(
        f"among the inputs{'' if spec is None else f' in image={spec!r}'} there is no image: a "
        f"floating-point tensor {wanted} is needed, and what came is "
        f"{came}.{_next_step(within)}"
    )


def _no_tensor(given: object) -> str:
    """What came where no tensor did, in words."""
    arrays = [one for _, one in walk(given) if isinstance(one, np.ndarray)]
    if arrays:
        return ", ".join(f"a NumPy array {one.shape} {one.dtype}" for one in arrays)
    args = given[0] if isinstance(given, tuple) and given and isinstance(given[0], tuple) else ()
    kinds = f" ({', '.join(type(one).__name__ for one in args)})" if args else ""
    return f"no tensor at all{kinds}"


def _next_step(given: object) -> str:
    """How what came becomes an image, where that is known."""
    parts = [part for _, part in walk(given)]
    if any(isinstance(one, np.ndarray) for one in parts):
        return (
            " A picture is an array (height, width, 3) of uint8 from 0 to 255; what is ready for "
            "the network is torch.from_numpy(array).float(), with the batch and the channels first."
        )
    if any(isinstance(one, Tensor) and one.ndim >= 3 for one in parts):
        return (
            " Make it as in training, such as images.float() / 255 and then the mean and the "
            "standard deviation; or pass the path, or a uint8 array (height, width, 3), which is "
            "made ready."
        )
    return ""


_SAMPLES = 64
"""Two axes are samples, (batch, time), where there are so many; fewer are features."""


def _is_series(part: object) -> bool:
    series = isinstance(part, Tensor) and part.is_floating_point() and part.ndim == 2
    return series and part.shape[1] >= _SAMPLES  # type: ignore[attr-defined]  # a tensor it is


def _fits(tensor: Tensor, rank: int | None) -> bool:
    return tensor.ndim >= 3 if rank is None else tensor.ndim == rank


def _shape(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "a nested tensor"
    kind = "" if tensor.is_floating_point() else f" {tensor.dtype}"
    return f"{tuple(tensor.shape)}{kind}"


def _way(given: Given, model: nn.Module, spec: str | int) -> Path:
    """The way to the input that the user names."""
    args, kwargs = given
    first, *rest = str(spec).split(".")
    names = _parameters(model)
    starts: list[Path] = []
    if first in kwargs:
        starts.append((1, first))
    elif first.lstrip("-").isdigit():
        starts.append((0, int(first) % max(len(args), 1) if int(first) < 0 else int(first)))
    elif first in names and names.index(first) < len(args):
        starts.append((0, names.index(first)))
    else:  # a key of a dictionary, or a field, that is an argument itself
        rest = [first, *rest]
        starts += [(0, index) for index in range(len(args))] + [(1, key) for key in kwargs]
    for start in starts:
        way = _follow(given, start, rest)
        if way is not None:
            return way
    named: dict[Key, object] = {**dict(enumerate(args)), **dict(kwargs.items())}
    shown = drawn(named)
    raise InputError(
        f"image={spec!r} names none of the inputs. They are\n{shown}\n"
        "Pass the index or the name of an argument, and where it is a container the keys that "
        "lead to the image, as in image='0.pixels'."
    )


def _follow(given: Given, start: Path, rest: Sequence[str]) -> Path | None:
    """The way on by keys as they are written in a text; None where there is none."""
    way = list(start)
    try:
        part = at(given, start)
        for text in rest:
            key, part = next((k, one) for k, one in children(part) if str(k) == text)
            way.append(key)
    except (KeyError, StopIteration):
        return None
    return tuple(way)


def _parameters(model: nn.Module) -> list[str]:
    """The names of the positional parameters of the model's forward."""
    try:
        known = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        one.name for one in known if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]


def _inside(given: object, model: nn.Module) -> Path | None:
    """In a list of pictures ``(channels, height, width)`` the way from each element to its picture.

    The elements are the pictures, or dicts and the like that hold one each. None for anything else.
    """
    if not isinstance(given, list | tuple) or not given:
        return None
    if _axes(model) not in (4, None):  # to a network of signals, three axes are a batch already
        return None
    if all(_is_picture(one) for one in given):
        return ()
    held = dict(children(given[0]))
    keys = ["image", *held] if isinstance(given[0], Mapping) else list(held)
    for key in keys:
        if all(isinstance(one, type(given[0])) and _holds_picture(one, key) for one in given):
            return (key,)
    return None


def _holds_picture(element: object, key: Key) -> bool:
    if isinstance(element, Tensor | list | tuple):
        return False
    part = dict(children(element)).get(key)
    return _is_picture(part) or (
        key == "image" and isinstance(part, Tensor) and part.ndim == 3 and not part.is_complex()
    )


def _is_picture(given: object) -> bool:
    return (
        isinstance(given, Tensor)
        and given.ndim == 3
        and given.is_floating_point()
        and given.size(0) in (1, 3)
    )


def image_at(given: Given, place: Place) -> Tensor:
    """The image at its place; pictures are stacked.

    Raises:
        InputError: pictures differ in size.
    """
    found = at(given, place.path)
    if place.inside is None:
        assert isinstance(found, Tensor)  # or it would not be the place
        if found.is_nested:
            raise InputError(
                "the image is a nested tensor, whose pictures differ in size, and the maps of one "
                "call have one size. Pass one image at a time, image[i][None]."
            )
        return found
    pictures = [at(one, place.inside) for _, one in children(found)]
    sizes = list(dict.fromkeys(tuple(one.shape) for one in pictures if isinstance(one, Tensor)))
    if len(sizes) > 1:
        raise InputError(
            f"the list holds pictures of {len(sizes)} shapes, {', '.join(map(str, sizes))}, and "
            "the maps of one call have one size. Pass one image at a time: explain(model, [image])."
        )
    return torch.stack([one for one in pictures if isinstance(one, Tensor)])


def _check_batch_axis(image: Tensor, model: nn.Module) -> None:
    axes = _axes(model)
    # Fewer axes may also be a batch without channels, to which the network gives that axis.
    if axes is not None and image.ndim == axes - 1 and image.shape[0] == _first_channels(model):
        raise InputError(
            f"the input has shape {tuple(image.shape)}, and this network's first "
            f"convolution works on {axes} axes, the first of them the batch. For one image "
            "pass image[None]. If the first axis is the batch all the same, say what the axes are, "
            "as in axes='b h w'."
        )


def _axes(model: nn.Module) -> int | None:
    """How many axes the input of the first convolution has; None where there is no convolution."""
    first = _first(model)
    return None if first is None else 2 + len(first.kernel_size)


def _first_channels(model: nn.Module) -> int | None:
    first = _first(model)
    return None if first is None else first.in_channels


def _first(model: nn.Module) -> nn.modules.conv._ConvNd | None:
    found = (one for one in model.modules() if isinstance(one, nn.modules.conv._ConvNd))
    return next(found, None)
