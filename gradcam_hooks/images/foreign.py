"""Preprocessing of somebody's: any callable from a picture to a tensor, with its geometry found.

torchvision's presets and Compose, timm's transforms, the image processors of transformers,
albumentations and functions of one's own are all called on the picture; `Located` gives what a
`Preprocess` gives, the tensor and the way back, which `coordinates` finds by running them. No
such library is imported here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import GradCamHooksError, InputError
from gradcam_hooks.images.coordinates import Found, UnplacedError, found_in, looks_there
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.reading import load_image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Located", "tensor_of"]

_PIXELS = ("pixel_values", "image", "images")
"""What libraries call the pixels among the things that their preprocessing returns."""


class Located:
    """A callable that makes an input of a picture, with the place of that input on the picture.

    Args:
        given: called with an upright RGB picture; a callable of transformers or albumentations in
            the way of its library. It returns a floating-point tensor or array
            ``(channels, height, width)``, or a pair of that and a `Geometry`.

    Raises:
        InputError: it is nothing that can be called.
    """

    def __init__(self, given: Callable[..., object]) -> None:
        if not callable(given):
            raise InputError(
                "preprocess= is a gradcam_hooks.Preprocess, or any callable from a PIL picture to "
                f"a tensor, not {type(given).__name__}."
            )
        self.given = given
        self._known: dict[tuple[int, int], Found] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return getattr(self.given, "__qualname__", None) or type(self.given).__name__

    def __call__(self, image: Image.Image) -> tuple[Tensor, Geometry]:
        """The network's input, ``(channels, height, width)``, and where it lies on the picture.

        Where that is not known yet for a picture of this size, the callable runs on four more
        pictures, with the random numbers of the first run; and once more, to see whether it draws
        any.

        Raises:
            InputError: it fails, returns no such tensor, or what it does cannot be placed.
        """
        rgb = load_image(image)
        with self._lock:
            start = _Draws()
            made = self._made(rgb)
            if isinstance(made, tuple):
                return made
            known = self._known.get(rgb.size)
            try:
                if known is None:
                    known = self._found(rgb, made, start)
                looks_there(known, rgb, made)
            except UnplacedError as error:
                raise InputError(
                    f"where the map lies on the picture cannot be told: {self} {error}. Pass the "
                    "tensor that it makes, explain(model, preprocess(picture)[None]), whose map is "
                    "drawn on that; or let it return (tensor, gradcam_hooks.images.Geometry(...))."
                ) from error
        return made, known.geometry

    def _found(self, rgb: Image.Image, made: Tensor, start: _Draws) -> Found:
        def again(picture: Image.Image) -> Tensor:
            with start.replayed():
                other = self._made(picture)
            assert isinstance(other, Tensor)  # the first was one
            return other

        if not torch.equal(again(rgb), made):
            raise UnplacedError("draws at random in a way of its own, another each time")
        found = found_in(again, rgb.size)
        other = self._made(rgb)
        if isinstance(other, Tensor) and torch.equal(other, made):
            self._known[rgb.size] = found
        return found

    def _made(self, picture: Image.Image) -> Tensor | tuple[Tensor, Geometry]:
        try:
            given = _called(self.given, picture)
        except GradCamHooksError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:  # the callable is the user's code
            raise InputError(
                f"preprocess= fails on a picture: {type(error).__name__}: {error}. It is called "
                "with a PIL picture of mode RGB."
            ) from error
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Geometry):
            return tensor_of(given[0]), given[1]
        return tensor_of(given)


def _called(given: Callable[..., object], picture: Image.Image) -> object:
    libraries = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if "transformers" in libraries:
        processor = getattr(given, "image_processor", given)
        return processor(images=picture, return_tensors="pt")
    if "albumentations" in libraries:
        return given(image=np.asarray(picture))
    return given(picture)


def tensor_of(given: object) -> Tensor:
    """The input ``(channels, height, width)`` among what a preprocessing returned.

    Raises:
        InputError: there is none.

    >>> tensor_of({"pixel_values": torch.zeros(1, 3, 4, 6)}).shape
    torch.Size([3, 4, 6])
    """
    if isinstance(given, Mapping):
        given = next((given[name] for name in _PIXELS if name in given), given)
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(given)
        if given.ndim == 3 and given.shape[2] in (1, 3, 4) and given.shape[0] not in (1, 3, 4):
            given = given.permute(2, 0, 1)
    if not isinstance(given, Tensor):
        end = "; put ToTensor() at its end" if hasattr(given, "getpixel") else ""
        raise InputError(
            "preprocess= returns a tensor (channels, height, width), and this one returned a "
            f"{type(given).__name__}{end}."
        )
    if given.ndim == 4 and len(given) == 1:
        given = given[0]
    if given.ndim != 3 or not given.numel() or not given.is_floating_point():
        raise InputError(
            "preprocess= returns floating-point pixels (channels, height, width), and this one "
            f"returned {tuple(given.shape)} of {given.dtype}; torchvision's ToTensor(), or "
            "v2.ToImage() and v2.ToDtype(torch.float32, scale=True), make such."
        )
    return given.detach().as_subclass(Tensor)


class _Draws:
    """Where random numbers stand: PyTorch's, Python's and NumPy's."""

    def __init__(self) -> None:
        self._states = (torch.get_rng_state(), random.getstate(), np.random.get_state())

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """While open, they are drawn as from there; after it they go on where they were."""
        now = _Draws()
        self._set()
        try:
            yield
        finally:
            now._set()

    def _set(self) -> None:
        own, python, numpy = self._states
        torch.set_rng_state(own)
        random.setstate(python)
        partial(np.random.set_state)(numpy)
