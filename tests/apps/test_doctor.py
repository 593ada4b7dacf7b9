"""The command for reports of faults: what it tells, and what it keeps to itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gradcam_hooks
from gradcam_hooks.apps.cli import app, doctor

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_LIBGL = """
import sys

class NoLibGL:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")

sys.meta_path.insert(0, NoLibGL())
import gradcam_hooks as gh
from gradcam_hooks.apps import demo

network = gh.load_model("gradcam_hooks.apps.demo:network", demo.HONEST, labels=demo.LABELS)
ready = gh.Preprocess(size=(64, 64), mean=demo.MEAN, std=demo.STD)
result = gh.explain(network, demo.IMAGES[0], "layer3", preprocess=ready)
result.save("map.npz")
assert result.mask(threshold=0.5)[0].any()
for drawn in (result.overlay, result.boxes):
    try:
        drawn()
    except ImportError as error:
        assert "opencv-python-headless" in str(error) and "libGL.so.1" in str(error)
    else:
        raise AssertionError(drawn)
from gradcam_hooks.apps.cli import app
app(sys.argv[1:])
"""


def test_it_tells_versions_and_extras_and_explains_a_picture() -> None:
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    for package in ("torch", "torchvision", "numpy", "pillow", "safetensors"):
        assert re.search(rf"^  {package} +{re.escape(version(package))}$", done.output, re.M)
    assert re.search(r"^  cv2 +\d[\w.]*, from opencv-", done.output, re.M)
    assert f"timm {version('timm')}" in done.output
    assert "says 'circle' of circle.png, map ok" in done.output
    assert done.output.endswith("\nall is well\n")
    for place in (Path.home(), Path.cwd(), ROOT, sys.prefix):
        assert str(place) not in done.output


def test_without_opencv_maps_are_made_and_what_is_missing_is_named(tmp_path: Path) -> None:
    root = str(Path(gradcam_hooks.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBGL, "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith("problems: cv2, drawing\n")
    assert done.stdout.count("opencv-python-headless") >= 2
    assert "says 'circle' of circle.png, map ok" in done.stdout
    assert (tmp_path / "map.npz").stat().st_size > 0


def test_every_extra_says_what_it_is_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, table = project.partition("[project.optional-dependencies]\n")
    extras = set(re.findall(r"^([\w-]+) = \[", table.partition("\n\n")[0], re.M))
    assert {"zoo", "dev"} <= extras
    assert set(doctor.EXTRAS) == extras - {"dev"}


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("'/home/jane doe/x.pth': no such file", "'.../x.pth': no such file"),
        ("libGL.so.1: cannot open", "libGL.so.1: cannot open"),
        (
            "undefined symbol in /opt/venv/lib/_C.so (torch)",
            "undefined symbol in .../_C.so (torch)",
        ),
        (r"DLL load failed: C:\Users\Jane\torch\c10.dll", "DLL load failed: .../c10.dll"),
        ("two\nlines, 3 / 4, a/b", "two lines, 3 / 4, a/b"),
    ],
)
def test_paths_are_kept_back(told: str, kept: str) -> None:
    assert doctor.private(told) == kept
