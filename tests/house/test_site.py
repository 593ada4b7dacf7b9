"""The documentation: every example and every command line of a page holds, and the site builds."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import typer
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from scripts import docs_links, docs_pages

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {"kinds.md", "coming.md", "audit.md", "check.md", "metrics.md", "figures.md"}
"""Their examples have tests of their own."""

PAGES = sorted(
    path
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/for/*.md"), ROOT / "AGENTS.md"]
    if path.name not in OTHERS and "```python" in path.read_text(encoding="utf-8")
)
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
PROMISE = re.compile(r"^print\(.*\)  # (\([\d, ()]+\))(?::.*)?$", re.MULTILINE)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A folder with what the pages speak of, and the names that they take for granted."""
    from skimage import data

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "3").mkdir(parents=True)
    for name in ("photo.jpg", "photos/3/a.jpg"):
        Image.fromarray(data.coffee()[::2, ::2]).save(name)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5)
    model.image_size = 64  # what it tells of its pictures: small ones, so that the test is quick
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return {"model": model, "network": network, "images": torch.rand(2, 3, 64, 96)}


def stock(page: str) -> None:
    """The files that one page alone speaks of."""
    if page == "beginner.md":
        torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), "best.pth")
        Path("labels.txt").write_text("cat\ndog\n")
    if page == "radiology.md":
        import nibabel

        scan = np.random.default_rng(0).random((24, 20, 16), np.float32)
        nibabel.save(nibabel.Nifti1Image(scan, np.diag([1, 1, 2, 1])), "scan.nii.gz")


@pytest.mark.parametrize("page", [pytest.param(path, id=path.stem) for path in PAGES])
def test_every_example_runs_and_prints_what_it_promises(
    page: Path, desk: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    stock(page.name)
    known = set(gh.METHODS)
    try:
        for example in EXAMPLE.findall(page.read_text(encoding="utf-8")):
            exec(compile(example, str(page), "exec"), desk)
            printed = capsys.readouterr().out.splitlines()
            for promised in PROMISE.findall(example):
                assert any(line.endswith(promised) for line in printed), promised
    finally:
        from gradcam_hooks.methods import registry

        for name in set(gh.METHODS) - known:  # a page may define one; later tests know of none
            del registry._ROWS[name]


def command_lines() -> list[tuple[str, str]]:
    """Each line of a page that calls the command."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return [
        (path.relative_to(ROOT).as_posix(), found[1])
        for path in sorted(pages)
        for found in re.finditer(
            r"^(?:gradcam-hooks|python -m gradcam_hooks) (.+)$",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]


def test_every_command_line_is_understood() -> None:
    command = typer.main.get_command(app)
    lines = command_lines()
    assert len(lines) > 10
    for page, line in lines:
        name, *words = shlex.split(line)
        with command.make_context("gradcam-hooks", [name, *words]) as context:
            found = command.get_command(context, name)  # type: ignore[attr-defined]
            assert found is not None, (page, line)
            found.make_context(name, words, parent=context)  # raises where an option is unknown


def test_the_methods_to_choose_from_are_there() -> None:
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    table = page.partition("| you want |")[2].partition("\n\n")[0]
    named = {
        word
        for row in table.splitlines()[2:]
        for word in re.findall(r"`([\w+]+)`", row.split("|")[2])
    }
    assert len(named) > 15
    assert named <= set(gh.METHODS)


def test_every_public_name_is_in_the_reference() -> None:
    pages = docs_pages.pages()
    told = {
        name: page for page, text in pages.items() for name in re.findall(r"^## (\w+)$", text, re.M)
    }
    assert set(gh.__all__) <= set(told)
    assert told["RISE"] == "methods.md"
    assert told["Difference"] == "targets.md"
    rise = pages["methods.md"].partition("\n## RISE\n")[2].partition("\n## ")[0]
    assert "    masks=4000,\n" in rise


@pytest.mark.skipif(sys.version_info < (3, 11), reason="what builds the site needs Python 3.11")
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("reference"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    docs_pages.main(tmp_path / "docs" / "reference")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert docs_links.broken(tmp_path / "site") == []
    built = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "for/engineer.html", "reference/errors.html"} <= built


def test_a_broken_link_and_what_is_loaded_from_elsewhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">b</a><a href="b.html#nowhere">b</a>'
        '<a href="c.html">c</a><a href="https://example.org">out</a><a href="#top">up</a>'
        '<script src="https://example.org/x.js"></script><img src="data:image/png;base64,">'
    )
    (tmp_path / "b.html").write_text('<h2 id="there">B</h2>')
    assert docs_links.broken(tmp_path) == [
        "a.html leads to b.html#nowhere, and there is no such heading",
        "a.html leads to c.html, which is not there",
        "a.html loads https://example.org/x.js",
    ]


def test_the_table_beside_the_other_libraries_is_the_readme_s() -> None:
    shown, told = (
        [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "|" in line]
        for name in ("docs/compared.md", "README.md")
    )
    assert len(shown) > 10
    assert set(shown) <= set(told)


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    pages |= {f"reference/{name}" for name in docs_pages.pages()}
    named = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(named) == sorted(pages)
