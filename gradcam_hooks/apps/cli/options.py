"""Options: a user's words on the command line, read into what the library takes.

Each function reads one kind of word, and says what it expected where the word is none of that
kind. This file knows words; it never loads a model or a picture.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gradcam_hooks.errors import DeviceError, InputError, ModelError, OptionError
from gradcam_hooks.methods import METHODS, Method, method, method_of

if TYPE_CHECKING:
    from gradcam_hooks.images import Fit, Preprocess
    from gradcam_hooks.images.foreign import Located
    from gradcam_hooks.images.given import Prepare, View
    from gradcam_hooks.images.volumes import Volumes
    from gradcam_hooks.models import LoadedModel
    from gradcam_hooks.results.drawing import Opacity, Style

__all__ = [
    "allow_pixels",
    "read_device",
    "read_examples",
    "read_method",
    "read_methods",
    "read_model",
    "read_networks",
    "read_options",
    "read_output",
    "read_paths",
    "read_preprocess",
    "read_series",
    "read_sides",
    "read_size",
    "read_style",
    "read_view",
    "read_weights",
]

_OFFERED = 24
"""Pictures that the page offers at most."""


def read_paths(*given: list[Path] | None) -> list[Path]:
    """All files and folders that were named.

    Raises:
        InputError: there is none.
    """
    named = [path for paths in given for path in paths or ()]
    if not named:
        raise InputError(
            "which pictures? Name files or folders: gradcam-hooks explain photos/ --model "
            "resnet50; 'gradcam-hooks demo' needs none"
        )
    return named


def read_examples(given: list[Path] | None) -> list[Path]:
    """The pictures of `serve --examples`, a page of them at most.

    Raises:
        InputError: there is none at one of the places.
    """
    from gradcam_hooks.images.files import list_images

    found = [path for one in given or () for path in list_images([one]) or [one]]
    missing = next((path for path in found if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"no picture at '{missing}' to offer; --examples names files or folders")
    return found[:_OFFERED]


def read_methods(word: str) -> str | tuple[str, ...]:
    """The method, or several where there are commas between them.

    Raises:
        MethodNotFound, ModelError, MethodError: as `read_method`.

    >>> read_methods("gradcam"), read_methods("gradcam, layercam"), read_methods("all")
    ('gradcam', ('gradcam', 'layercam'), 'all')
    """
    if word == "all":
        return word
    names = tuple(dict.fromkeys(read_method(one.strip()).name for one in word.split(",")))
    return names[0] if len(names) == 1 else names


def read_method(word: str) -> Method:
    """The method of a name, or of a function of the user's own, which comes into `METHODS`.

    Raises:
        MethodNotFound: the name is none of the methods'.
        ModelError, MethodError: the function of ``"file.py:function"`` is not there, or no method.
    """
    if ":" not in word:
        return method_of(word)
    from gradcam_hooks.models.own import importable, own_function

    with importable(word):
        function = own_function(word, "a function (activation, gradient) -> map")
    row = method_of(function)
    if METHODS.get(row.name) is not row:  # it was not made a method there
        method(word.rpartition(":")[2])(function)
    return method_of(function)


def read_output(word: str | None) -> str | int | None:
    """The part of the output: a position where it is a number, else a key."""
    return int(word) if word is not None and word.isascii() and word.isdecimal() else word


def read_size(word: str) -> tuple[int, int]:
    """The input's height and width in pixels.

    Raises:
        InputError: it is neither one number nor two.

    >>> read_size("224"), read_size("192x256")
    ((224, 224), (192, 256))
    """
    sides = read_sides(word)
    if len(sides) != 2:
        raise InputError(f"--size is a side, or HEIGHTxWIDTH, such as 224 or 192x256; got {word!r}")
    return sides[0], sides[1]


def read_sides(word: str) -> tuple[int, ...]:
    """The input's height and width, or depth, height and width.

    Raises:
        InputError: it is neither one number nor two nor three.

    >>> read_sides("224"), read_sides("32x96x96")
    ((224, 224), (32, 96, 96))
    """
    sides = word.lower().split("x")
    if len(sides) > 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(
            "--size is a side, or HEIGHTxWIDTH, such as 224 or 192x256, or of a volume "
            f"DEPTHxHEIGHTxWIDTH; got {word!r}"
        )
    found = tuple(map(int, sides))
    return found * 2 if len(found) == 1 else found


def read_view(window: str | None, number: int | None) -> View:
    """What of a scan is looked at.

    Raises:
        InputError: the window is no centre and width.
    """
    from gradcam_hooks.images.given import View

    if window is None:
        return View(None, number)
    try:
        center, width = (float(one) for one in window.split(","))
    except ValueError:
        center, width = 0.0, 0.0
    if not 0 < width < float("inf"):
        raise InputError(f"--window is a centre and a width, such as 40,400; got {window!r}")
    return View((center, width), number)


def read_style(alpha: float, opacity: str, colormap: str, *, caption: bool) -> Style:
    """How the overlays are drawn."""
    from gradcam_hooks.results.drawing import Style

    return Style(alpha=alpha, opacity=cast("Opacity", opacity), colormap=colormap, caption=caption)


def read_series(pictures: list[Path], prepare: Prepare) -> list[Path]:
    """The pictures; for a network of volumes each folder of DICOM slices as one scan."""
    from gradcam_hooks.images.files import is_dicom
    from gradcam_hooks.images.volumes import Volumes

    if not isinstance(prepare, Volumes):
        return pictures
    whole = (one.parent if one.is_file() and is_dicom(one) else one for one in pictures)
    return list(dict.fromkeys(whole))


def read_options(words: list[str] | None, flag: str = "--option") -> dict[str, object]:
    """Names and values, of words such as "samples=50".

    Raises:
        OptionError: there is no "=" in a word.

    >>> read_options(["samples=50", "score=probability", "pool=None"])
    {'samples': 50, 'score': 'probability', 'pool': None}
    """
    found: dict[str, object] = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals):
            raise OptionError(f"{flag} is a name and a value, such as samples=50; got {word!r}")
        try:
            found[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name.strip()] = value
    return found


def read_preprocess(
    loaded: LoadedModel,
    name: str | None,
    fit: str | None,
    size: str | None,
    mean: str | None,
    std: str | None,
) -> Preprocess | Located | Volumes:
    """The network's own preprocessing, or the user's; with what was asked for in its place.

    Raises:
        InputError: a word is not of its kind, or out of its range; or asks for a part of what is
            a whole.
        ModelError: the user's is not there, or cannot be imported.
    """
    from gradcam_hooks.images.foreign import Located
    from gradcam_hooks.images.given import as_prepare
    from gradcam_hooks.images.volumes import Volumes
    from gradcam_hooks.models.presets import volume_channels

    own = loaded.preprocess
    volumes = volume_channels(loaded.model)
    if name is not None:
        from gradcam_hooks.models.own import importable, own_function

        with importable(name):
            wanted = "a function from a PIL picture, or the tensor of a scan, to a tensor"
            own = as_prepare(own_function(name, wanted), volumes)  # type: ignore[assignment]
    if isinstance(own, Volumes) and own.given is None:
        return _of_volumes(own, fit, size, mean, std)
    if isinstance(own, Located | Volumes):
        if any(word is not None for word in (fit, size, mean, std)):
            raise InputError(
                "--fit, --size, --mean and --std change the library's own preprocessing, and here "
                f"pictures are made ready by {own}: say it there"
            )
        return own
    changed = own
    if size is not None:
        changed = replace(changed, size=read_size(size), resize=None)
    if fit is not None and fit != own.fit:
        changed = replace(changed, fit=cast("Fit", fit), resize=None)  # checked by Preprocess
    if mean is not None:
        changed = replace(changed, mean=_numbers("--mean", mean, len(own.mean)))
    if std is not None:
        changed = replace(changed, std=_numbers("--std", std, len(own.std)))
    return changed


def _of_volumes(
    own: Volumes, fit: str | None, size: str | None, mean: str | None, std: str | None
) -> Volumes:
    if fit is not None:
        raise InputError("--fit is for pictures; a scan is resized as a whole, --size 32x96x96")
    if size is not None:
        sides = read_sides(size)
        if len(sides) != 3:
            raise InputError(
                "this network takes volumes: --size is DEPTHxHEIGHTxWIDTH in the order of the "
                f"scan's array, such as 32x96x96; got {size!r}"
            )
        own = replace(own, size=(sides[0], sides[1], sides[2]))
    if mean is not None:
        own = replace(own, mean=_numbers("--mean", mean, own.channels))
    if std is not None:
        own = replace(own, std=_numbers("--std", std, own.channels))
    return own


def _numbers(option: str, word: str, channels: int) -> tuple[float, ...]:
    try:
        numbers = [float(number) for number in word.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= channels
    if len(numbers) not in (1, 3, channels):
        raise InputError(
            f"{option} is one number, or three for R, G and B, such as 0.485,0.456,0.406, "
            f"or one for each of the network's {channels} channels; got {word!r}"
        )
    return tuple(numbers)


def read_model(model: str | None, weights: str | None) -> str:
    """The network's name.

    Raises:
        ModelError: there is none; a file of weights does not say which network they are for.
    """
    if model is not None:
        return model
    if weights not in (None, "DEFAULT", "random"):
        raise ModelError(
            f"'{weights}' holds weights, and does not say which network they are for: name the "
            "architecture it was trained with, such as --model vgg16"
        )
    raise ModelError(
        "which network? --model resnet50 takes torchvision's with the weights it publishes; "
        "--model vgg16 --weights best.pth takes your own"
    )


def read_networks(
    model: str, weights: str | None, against: str | None, against_model: str | None
) -> dict[str, tuple[str, str | None]]:
    """The name and the weights of each network, by what sets it apart; of a single one by "".

    >>> read_networks("resnet18", "best.pth", None, None)
    {'': ('resnet18', 'best.pth')}
    >>> list(read_networks("resnet18", "a/best.pth", "b/best.pth", None))
    ['a-best', 'b-best']
    >>> list(read_networks("resnet18", None, None, "timm:resnet50"))
    ['resnet18', 'timm-resnet50']
    """
    one, other = (model, weights), (against_model or model, against)
    if against is None and against_model is None:
        return {"": one}
    weighed = [Path(word or "DEFAULT") for _, word in (one, other)]
    for titles in (
        [name for name, _ in (one, other)] if against is None else [],
        [path.stem for path in weighed],
        [f"{path.parent.name}-{path.stem}" for path in weighed],
        [f"{name} {path.stem}" for (name, _), path in zip((one, other), weighed, strict=True)],
    ):
        plain = [re.sub(r"[^\w.-]+", "-", title).strip("-.")[:80] for title in titles]
        if all(plain) and len({title.casefold() for title in plain}) == 2:
            return dict(zip(plain, (one, other), strict=True))
    return {"first": one, "second": other}


def read_weights(model: str, word: str | None) -> str | None:
    """What `load_model` is to be given: None for none.

    Raises:
        ModelError: an empty word.
    """
    own_function = ":" in model and not model.startswith("timm:")
    if word is None:
        return None if own_function else "DEFAULT"
    if not word:
        raise ModelError("--weights is a file, DEFAULT or random; got an empty word")
    return None if word == "random" else word


def read_device(word: str) -> str:
    """The device: "auto" is the first CUDA device where there is one, else the CPU.

    Raises:
        DeviceError: an empty word.
    """
    import torch

    if not word:
        raise DeviceError("--device is auto, cpu, cuda or the like; got an empty word")
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return word


def allow_pixels(most: int) -> int:
    """The limit, which Pillow, too, keeps to from here on where its own is lower."""
    from PIL import Image

    from gradcam_hooks.images.limits import allow

    allow(most)
    Image.MAX_IMAGE_PIXELS = max(most, Image.MAX_IMAGE_PIXELS or most)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # an error says it better
    for name in ("PIL", "tifffile"):  # which log what else is odd about a damaged file
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return most
