"""What tests of folders and runs share: a small network's job, pictures, what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.apps.batch.job import Job

NET = """
import torch
from torch import nn

def build(num_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""
"""A file that a user might have, for `--model net.py:build --layer 0`."""


def surroundings(**more: str) -> dict[str, str]:
    """The environment, for a process that finds no room on the disk: it leaves no coverage."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")} | more


def small_job(**options: object) -> Job:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    loaded = gh.LoadedModel(net.eval(), "net", "random", None, gh.Preprocess(size=(32, 40)))
    return Job(loaded, **{"layer": "0", **options})


def dies_once(folder: Path) -> None:
    """End this process as if its machine had gone, the first time that this is asked."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return
    os._exit(1)


def noise(path: Path, seed: int = 0, size: tuple[int, int] = (24, 36)) -> Path:
    """A picture unlike any of another seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what is in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
