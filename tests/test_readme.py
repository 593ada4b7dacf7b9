"""The README's own lines: every Python example runs, every file it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data

    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.coffee()).save("photo.jpg")
    torch.manual_seed(0)
    names = {
        "model": torchvision.models.resnet18(weights=None),
        "images": torch.randn(2, 3, 64, 64),
    }
    examples = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert (tmp_path / "heat.png").stat().st_size > 0
    assert names["result"].maps.shape == (2, 64, 64)


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"\]\(([\w./]+)\)", TEXT) + re.findall(r"`((?:scripts|tests)/[\w.]+)`", TEXT)
    assert "docs/demo.jpg" in named
    assert "scripts/bench" in named
    for name in named:
        assert (ROOT / name).exists(), name
