"""The job: what is asked of every picture of a folder, as plain data with a fingerprint.

Two runs with the same fingerprint give the same results for the same picture, so that the later
one need not do again what the earlier one has done. This file knows models and options; it knows
no picture, no folder and no terminal.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from gradcam_hooks.apps.batch.reading import Reading
from gradcam_hooks.checks import check_count, check_one_of
from gradcam_hooks.comparing import compare
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import InputError, OptionError
from gradcam_hooks.explainers import Explainer, Options, explainer
from gradcam_hooks.images import Preprocess
from gradcam_hooks.images.given import Prepare, PrepareSpec, View, as_prepare
from gradcam_hooks.images.volumes import Volumes
from gradcam_hooks.methods import METHODS
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.presets import volume_channels
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.targets import AllClasses, Target, TopK
from gradcam_hooks.trust import checked  # noqa: F401  (what Explanation.check asks)
from gradcam_hooks.version import version

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.scan import Scan

__all__ = ["ImageFormat", "Job"]

ImageFormat: TypeAlias = Literal["png", "webp", "jpeg"]


@dataclass(frozen=True)
class Job:
    """What is asked of every picture, and how the answer is drawn.

    Attributes:
        loaded: the network.
        layer: a dotted name, a glob, "auto", or several names.
        target: None for the predicted class, a class number, a label, or any other target.
        method: a name in `METHODS`; or several, or ``"all"``, for a sheet of them side by side.
        preprocess: how pictures are made ready; by default the network's own way.
        output: which part of the network's output to explain, a key or an index.
        multi_label: whether each label is on or off by itself; None: as the network says.
        options: the methods' own options.
        fuse: how the maps of several layers become one; None for the method's own way.
        style: how the overlay is drawn.
        view: what of a scan is looked at.
        check: whether each map is checked, `Explanation.check`; of one method.
        image_format: of the overlays: "png", "webp" or "jpeg".
        max_side: the overlays' longer side in pixels at most, without the caption; None for the
            picture's own.
    """

    loaded: LoadedModel
    layer: str | tuple[str, ...] = "auto"
    target: Target = None
    method: str | tuple[str, ...] = "gradcam"
    preprocess: PrepareSpec | None = None
    output: str | int | None = None
    multi_label: bool | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    fuse: str | None = None
    style: Style = field(default_factory=Style)
    view: View = field(default_factory=View)
    check: bool = False
    image_format: ImageFormat = "png"
    max_side: int | None = None

    def __post_init__(self) -> None:
        check_one_of(self.image_format, "image_format", get_args(ImageFormat), error=InputError)
        if self.max_side is not None:
            check_count(self.max_side, "max_side=", error=InputError)
        if self.check and self.compares:
            raise OptionError("a check is of the maps of one method; name one, or leave it out.")

    @cached_property
    def prepare(self) -> Prepare:
        """How pictures are made ready."""
        given = self.preprocess or self.loaded.preprocess
        return as_prepare(given, volume_channels(self.loaded.model))

    @property
    def suffix(self) -> str:
        """Of the overlays' names."""
        return {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}[self.image_format]

    def reading(self, max_pixels: int = MAX_PIXELS) -> Reading:
        """How pictures are read for this job; methods that are compared take them as they are."""
        side = None if self.compares else self.max_side
        return Reading(self.prepare, self.view, max_pixels, side)

    @property
    def compares(self) -> bool:
        """Whether several methods are asked, side by side."""
        return self.method == "all" or not isinstance(self.method, str)

    def explainer(self) -> Explainer:
        """The explainer that does this job, not yet opened; of one method.

        Raises:
            GradCamHooksError: the method or an option is none of those there are.
        """
        if not isinstance(self.method, str):
            raise InputError(f"one method is explained with at a time, not {self.method}.")
        return explainer(
            self.method, self.loaded.model, self._layer, **self._options(), **self.options
        )

    def compare(self, image: Image.Image | Scan) -> Comparison:
        """All of several methods, side by side on one picture.

        Raises:
            GradCamHooksError: no method at all can explain this network.
        """
        target, options = self.target, cast("Any", {**self.options, **self._options()})
        return compare(
            self.loaded.model,
            image,
            methods=self.method,
            layers=[self._layer],
            targets=target if isinstance(target, TopK | AllClasses) else [target],
            style=self.style,
            **options,
        )

    @property
    def _layer(self) -> str | list[str]:
        return self.layer if isinstance(self.layer, str) else list(self.layer)

    def _options(self) -> Options:
        options: Options = {
            "output": self.output,
            "labels": self.loaded.labels,
            "preprocess": self.prepare,
            "multi_label": self.multi_label,
        }
        if self.fuse is not None:
            options["fuse"] = self.fuse
        return options

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with everything that decides the result.

        The network counts by its modules, the Python files that define them, and the values of
        its parameters and buffers; not by the name of the file that these came from.
        """
        target = self.target
        settings = {
            "version": version(),
            "model": _digest(self.loaded.model),
            "labels": self.loaded.labels,
            "layer": self.layer,
            "target": target if isinstance(target, int | str | None) else repr(target),
            "method": self.method,
            "preprocess": _words(self.prepare),
            "output": self.output,
            "multi_label": self.multi_label,
            "options": repr(dict(self.options)),
            "fuse": self.fuse,
            "style": repr(self.style),
            "view": repr(self.view),
            "check": self.check,
            "overlays": [self.image_format, self.max_side],
            **self._own_methods(),
        }
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    def _own_methods(self) -> dict[str, str]:
        """For each method that is not the library's own a hash of the file that has it."""
        names = [self.method] if isinstance(self.method, str) else self.method
        asked = METHODS if self.method == "all" else names
        rows = [METHODS[name] for name in asked if name in METHODS]
        return {
            row.name: hashlib.sha256(_sources([row.function])).hexdigest()
            for row in rows
            if not row.home.startswith("gradcam_hooks.")
        }


def _words(prepare: Prepare) -> object:
    """What decides what a preprocessing does: its fields; of another's what it shows of itself."""
    if isinstance(prepare, Preprocess):
        return prepare.to_dict()
    if isinstance(prepare, Volumes) and prepare.given is None:
        return str(prepare)
    given = getattr(prepare, "given", prepare)
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(given))
    return [shown, hashlib.sha256(_sources([given, type(given).__call__])).hexdigest()]


def _digest(model: nn.Module) -> str:
    """A hash of the modules, the files that say what they do, and all values."""
    digest = hashlib.sha256(repr(model).encode())
    forwards = {inspect.unwrap(type(module).forward) for module in model.modules()}
    digest.update(_sources(forwards))
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
        else:  # a quantized layer keeps its weights packed
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _sources(functions: Iterable[object]) -> bytes:
    """The files that have these functions, one behind the other."""
    codes = [code for one in functions if (code := getattr(one, "__code__", None)) is not None]
    files = [Path(name) for name in sorted({code.co_filename for code in codes})]
    return b"".join(one.read_bytes() for one in files if one.is_file())  # typed ones have none
