"""The package as a whole: its public face, what importing it costs, and that its papers agree."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import gradcam_hooks as gh

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torchvision", "cv2", "PIL", "typer", "rich", "timm", "transformers", "jinja2", "ray")


def imported(code: str) -> set[str]:
    """The top-level modules that a fresh Python has after running the code."""
    code += "\nimport sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_importing_it_takes_nothing_and_its_names_little_more_than_torch() -> None:
    alone = imported("import gradcam_hooks")
    assert "gradcam_hooks" in alone
    assert not alone & {"torch", "numpy", *HEAVY}
    more = imported("import gradcam_hooks; gradcam_hooks.explain") - imported("import torch, numpy")
    assert not more & set(HEAVY)


@pytest.mark.parametrize("said", [["--help"], ["explain", "--help"], ["--version"]])
def test_the_help_does_not_wait_for_pytorch(said: list[str]) -> None:
    code = f"from gradcam_hooks.apps.cli import app; app({said!r}, standalone_mode=False)"
    assert not imported(
        f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): {code}"
    ) & {"torch", "numpy", "cv2", "PIL"}


def test_names_are_those_of_the_public_file_however_they_are_come_by() -> None:
    # A module at the top that bore a public function's name would take its place once imported.
    code = (
        "import sys, gradcam_hooks.{module}\n"
        "import gradcam_hooks as gh\n"
        "from gradcam_hooks import *\n"
        "from gradcam_hooks import public\n"
        "assert all(getattr(gh, one) is getattr(public, one) for one in public.__all__)\n"
        "assert set(public.__all__) <= set(dir(gh)) and explain is gh.explain\n"
        "try: gh.nonsense\n"
        "except AttributeError as error: assert 'nonsense' in str(error)\n"
        "else: raise AssertionError\n"
    )
    for module in ("comparing", "errors"):
        subprocess.run([sys.executable, "-c", code.format(module=module)], check=True, cwd=ROOT)
    top = {path.stem for path in (ROOT / "gradcam_hooks").iterdir()}
    assert not top & set(gh.__all__)


@pytest.mark.parametrize("name", ["torchvision", "cv2", "PIL", "typer", "rich"])
def test_the_proof_is_proven(name: str) -> None:
    assert name in imported(f"import gradcam_hooks, {name}")


def test_every_public_name_is_there_and_documented() -> None:
    for name in gh.__all__:
        thing = getattr(gh, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name
    assert sorted(gh.__all__) == sorted(set(gh.__all__))


def test_the_public_signatures_stand() -> None:
    cam = inspect.signature(gh.GradCAM)
    assert list(cam.parameters)[:5] == ["model", "layer", "output", "layout", "fuse"]
    assert cam.parameters["layer"].default == "auto"
    assert cam.parameters["fuse"].default == "mean"
    assert cam.parameters["output"].kind is inspect.Parameter.KEYWORD_ONLY
    explain = inspect.signature(gh.explain)
    assert list(explain.parameters)[:5] == ["model", "image", "layer", "target", "method"]
    assert explain.parameters["method"].default == "gradcam"


def test_every_error_is_a_gradcam_hooks_error_and_a_builtin() -> None:
    errors = [getattr(gh, name) for name in gh.__all__ if name.endswith(("Error", "NotFound"))]
    errors += [gh.LayerDidNotRun]
    assert len(errors) >= 12
    for error in errors:
        assert issubclass(error, gh.GradCamHooksError)
        if error is not gh.GradCamHooksError:
            assert issubclass(error, (LookupError, ValueError, RuntimeError, OSError))


def test_version_changelog_and_project_agree() -> None:
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert project is not None
    assert newest[1] == project[1] == version("gradcam-hooks") == gh.__version__
