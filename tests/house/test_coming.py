"""What docs/coming.md promises to those who come from other libraries is there, and runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision

import gradcam_hooks as gh

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_runs(example: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5).eval()
    names: dict[str, object] = {"gh": gh, "model": model, "images": torch.rand(2, 3, 64, 96)}
    exec(compile(example, "docs/coming.md", "exec"), names)


def test_every_name_of_ours_is_there() -> None:
    ours = set(re.findall(r"\bgh\.(\w+)", PAGE))
    assert len(ours) > 10
    assert ours <= set(gh.__all__)
