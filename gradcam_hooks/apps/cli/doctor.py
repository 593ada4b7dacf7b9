"""What `gradcam-hooks doctor` finds: versions, devices, extras, and whether an explanation works.

It is made to be pasted into an issue: no path, no name of the user's is in it. Each package is
imported, because one that is installed may still fail to load. This file finds; `app` prints.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXTRAS", "Finding", "examine"]

EXTRAS: Mapping[str, str] = {
    "zoo": "networks of timm and transformers",
    "peers": "comparing with other libraries",
    "app": "the page of 'gradcam-hooks serve'",
    "watch": "explanations in TensorBoard and Lightning",
    "volumes": "volumes as NIfTI",
    "bands": "TIFF of many bands",
    "metrics": "metrics over batches",
    "figures": "figures as PDF and SVG",
    "trackers": "explanations in Weights & Biases and MLflow",
    "dicom": "scans as DICOM",
    "heic": "pictures as HEIC",
    "real": "a network of photographs for scripts/benchmark_trust",
    "cluster": "data sets on many machines",
    "docs": "building the documentation",
}
"""What each extra is for; ``dev``, which is all of them, is not told."""

_NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
    "einops": "einops",
}
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python",
           "opencv-contrib-python-headless")  # fmt: skip
_REQUIREMENT = re.compile(r"""^([\w.-]+)(?:\[[\w,]+\])?[^;\[]*;.*extra\s*==\s*['"]([\w-]+)['"]""")
_SCREEN = 64


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and whether the library can do without.

    Attributes:
        part: the heading that it stands under.
        name: a package, a device, an extra.
        told: what was found.
        good: False where something that the library needs is missing or fails.
    """

    part: str
    name: str
    told: str
    good: bool = True


def examine() -> Iterator[Finding]:
    """All findings, the quick ones first; none of them raises."""
    yield Finding("versions", "gradcam-hooks", _version("gradcam-hooks") or "not installed")
    running = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("versions", "python", running)
    yield from (_needed(module, package) for module, package in _NEEDED.items())
    yield _opencv()
    yield from _devices()
    yield from _extras()
    yield _explanation()
    yield _drawing()


def private(text: object) -> str:
    """The text on one line, and of each path in it the last part alone.

    >>> private("cannot open '/home/jane doe/nets/best.pth'")
    "cannot open '.../best.pth'"
    >>> private("1 F / 2 B")
    '1 F / 2 B'
    """
    line = " ".join(str(text).split())
    roots = {str(Path.home()), str(Path.cwd()), sys.prefix, sys.base_prefix}
    for root in sorted((one for one in roots if len(one) > 1), key=len, reverse=True):
        line = line.replace(root, "...")
    quoted = re.sub(r"""(?<=')(?:[A-Za-z]:)?[\\/.][^']*[\\/](?=[^'\\/]+')""", ".../", line)
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?(?:\.{3})?(?:[\\/][\w.@+~-]+)+[\\/]", ".../", quoted)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _needed(module: str, package: str) -> Finding:
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a package may fail in any way while it is loaded
        return Finding("versions", package, f"cannot be loaded: {private(error)}", good=False)
    told = _version(package) or str(getattr(found, "__version__", "version unknown"))
    return Finding("versions", package, told)


def _opencv() -> Finding:
    """Which cv2 there is, and the packages that it may come from."""
    installed = [f"{one} {_version(one)}" for one in _OPENCV if _version(one)]
    source = " and ".join(installed) or "no package that pip knows"
    try:
        from gradcam_hooks.images.opencv import opencv

        told = f"{opencv().__version__}, from {source}"
    except Exception as error:
        return Finding("versions", "cv2", f"{private(error)} (from {source})", good=False)
    if len(installed) > 1:
        told += "; they write the same files, keep one"
    return Finding("versions", "cv2", told)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception:  # told among the versions
        return
    cores = os.cpu_count() or 1
    yield Finding("devices", "cpu", f"{cores} cores, {torch.get_num_threads()} threads of torch")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    built = torch.version.cuda or torch.version.hip
    none = f"none (torch is built for {built})" if built else "none (torch is built without)"
    yield Finding("devices", "cuda", ", ".join(names) or none)
    yield Finding("devices", "mps", "yes" if torch.backends.mps.is_available() else "none")


def _extras() -> Iterator[Finding]:
    """Each extra that the installed package declares, with what of it is there."""
    try:
        requirements: Sequence[str] = metadata.requires("gradcam-hooks") or ()
    except metadata.PackageNotFoundError:
        requirements = ()
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        if (found := _REQUIREMENT.match(requirement)) and found[2] != "dev":
            packages.setdefault(found[2], []).append(found[1])
    for extra, named in packages.items():
        there = [f"{one} {_version(one)}" for one in named if _version(one)]
        missing = [one for one in named if not _version(one)]
        told = ", ".join([*there, *([f"missing: {', '.join(missing)}"] if missing else [])])
        purpose = EXTRAS.get(extra)
        yield Finding("extras", extra, f"{purpose}: {told}" if purpose else told)


def _explanation() -> Finding:
    """The bundled network on a bundled picture."""
    try:
        import gradcam_hooks as gh
        from gradcam_hooks.apps import demo

        start = time.perf_counter()
        picture = demo.IMAGES[0]
        found = gh.load_model("gradcam_hooks.apps.demo:network", demo.HONEST, labels=demo.LABELS)
        ready = gh.Preprocess(size=(_SCREEN, _SCREEN), mean=demo.MEAN, std=demo.STD)
        result = gh.explain(found, picture, "layer3", preprocess=ready)
        took = time.perf_counter() - start
        (row,) = result.facts()
        said, word = row[0].label, row[0].diagnosis
    except Exception as error:
        return Finding("check", "explanation", f"fails: {_error(error)}", good=False)
    told = f"the bundled network says {said!r} of {picture.name}, map {word}, {took:.1f} s"
    right = said == picture.stem and word == "ok"
    return Finding("check", "explanation", told + ("" if right else ", which is wrong"), good=right)


def _drawing() -> Finding:
    """A map laid over a picture, which takes OpenCV's colours."""
    try:
        import numpy as np

        from gradcam_hooks.images.colors import blend
        from gradcam_hooks.images.encoding import png

        ramp = np.linspace(0, 1, _SCREEN * _SCREEN, dtype=np.float32).reshape(_SCREEN, _SCREEN)
        size = len(png(blend(np.full((_SCREEN, _SCREEN, 3), 0.5, np.float32), ramp)))
    except Exception as error:
        return Finding("check", "drawing", f"fails: {_error(error)}", good=False)
    return Finding("check", "drawing", f"an overlay of {_SCREEN}x{_SCREEN} pixels, {size:,} bytes")


def _error(error: Exception) -> str:
    return f"{type(error).__name__}: {private(error)}"
