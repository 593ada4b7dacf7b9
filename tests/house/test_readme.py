"""The documents' own lines: every Python example runs and prints what it says, every file named is
there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

import gradcam_hooks as gh

ROOT = Path(__file__).resolve().parents[2]
README, KINDS = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/kinds.md")
)
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "504").mkdir(parents=True)
    for name in ("photo.jpg", "a.jpg", "b.jpg", "photos/504/a.jpg"):
        Image.fromarray(data.coffee()).save(name)
    torch.manual_seed(0)
    names = {
        "model": torchvision.models.resnet18(weights=None),
        "other": torchvision.models.resnet18(weights=None),
        "images": torch.randn(2, 3, 64, 64),
    }
    examples = EXAMPLE.findall(README)
    assert len(examples) >= 2
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    for name in ("heat.png", "methods.png", "figure.png", "results/report.html"):
        assert (tmp_path / name).stat().st_size > 0
    assert names["result"].maps.shape == (1, 224, 224)


FIGURES = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")


def test_the_examples_of_figures_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        Image.fromarray(data.coffee()).resize((150, 100)).save(name)
    torch.manual_seed(0)
    names: dict[str, object] = {"model": torchvision.models.resnet18(weights=None)}
    examples = EXAMPLE.findall(FIGURES)
    assert len(examples) == 9
    for example in examples[:-3]:  # the others are tests/export's matter, with their packages
        exec(compile(example, "docs/figures.md", "exec"), names)
    for name in ("axes.pdf", "paper.pdf", "paper.svg", "coco.json"):
        assert (tmp_path / name).stat().st_size > 0
    for example in examples[-3:]:
        compile(example, "docs/figures.md", "exec")


def kinds() -> dict[str, list[str]]:
    """The examples under each heading of docs/kinds.md; what stands ahead of all is under ""."""
    head, *sections = KINDS.split("\n## ")
    found = {section.splitlines()[0]: EXAMPLE.findall(section) for section in sections}
    return {"": EXAMPLE.findall(head), **found}


@pytest.mark.filterwarnings("ignore")  # what timm, transformers and the compiler say of themselves
@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind])
def test_the_example_of_each_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    (preamble,) = kinds()[""]
    examples = kinds()[kind]
    assert examples
    for example in examples:
        names: dict[str, object] = {}
        torch.manual_seed(0)
        exec(compile(preamble + example, "docs/kinds.md", "exec"), names)
        promised = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
        assert example.count("print(") == len(promised)
        assert capsys.readouterr().out.splitlines() == promised
        result = names["result"]
        assert isinstance(result, gh.Explanation)
        # Weights are drawn: a class may have nothing to speak for it, but never no gradient.
        assert set(result.diagnosis) <= {"ok", "all-negative", "coarse"}
        assert isinstance(result.raw, Tensor)
        raw = result.raw.detach().flatten(1)
        assert (raw.std(1) > 0.01 * raw.abs().amax(1)).all()


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"\]\(([\w./]+)\)", README)
    named += re.findall(r"`((?:scripts|tests)/[\w.]+)`", README)
    assert {"docs/demo.jpg", "docs/kinds.md", "scripts/bench"} <= set(named)
    for name in named:
        assert (ROOT / name).exists(), name
