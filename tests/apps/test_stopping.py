"""The command stopped, killed, or met by what nobody foresaw: a line, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gradcam_hooks
from gradcam_hooks.apps.batch import Series
from gradcam_hooks.apps.cli import app
from gradcam_hooks.stopping import stopped
from tests.support.fuzz import many
from tests.support.runs_on_disk import NET, contents, lines, noise, small_job, surroundings

ROOT = Path(gradcam_hooks.__file__).parents[1]
posix = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX does")

STOP_AT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Stop(MetaPathFinder):
    "Sends Ctrl-C to the process when it looks for a module."
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Stop())
"""


@posix
@pytest.mark.parametrize(
    "name", ["torch", "torch.nn", "gradcam_hooks.apps.cli.terminal", "torchvision"]
)
def test_ctrl_c_while_it_is_being_imported_is_a_line(name, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STOP_AT.format(name=name))
    (tmp_path / "net.py").write_text(NET)
    noise(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-m", "gradcam_hooks", "explain", "a.png", "--model", "net.py:build"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )  # fmt: skip
    assert done.stderr == "stopped: by Ctrl-C\n"
    assert done.returncode in (130, -signal.SIGINT)  # a shell shows both as 130
    assert not (tmp_path / "gradcam_results").exists()


def test_other_errors_are_python_s_as_before(capsys):
    try:
        raise KeyError("x")
    except KeyError as error:
        stopped(KeyError, error, error.__traceback__)
    assert "KeyError: 'x'" in capsys.readouterr().err
    assert sys.excepthook is not stopped  # this process is not the command


def test_what_nobody_foresaw_is_a_line_and_with_debug_itself(tmp_path, monkeypatch):
    def broken(*words: object, **options: object) -> None:
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("gradcam_hooks.models.load_model", broken)
    words = ["explain", str(noise(tmp_path / "a.png")), "--model", "x", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 70
    assert "error: ZeroDivisionError: by nobody: nobody foresaw this" in done.stderr
    assert "Traceback" not in done.output
    done = CliRunner().invoke(app, ["--debug", *words])
    assert isinstance(done.exception, ZeroDivisionError)


WORD = st.one_of(
    st.sampled_from(["", "-1", "0", "nan", "1e999", "9" * 30, ".", "/", "~", "a:b", "timm:", "\n"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
FLAGS = (
    "--layer", "--target", "--method", "--fuse", "--output", "--fit", "--size", "--mean", "--std",
    "--batch-size", "--alpha", "--colormap", "--max-pixels", "--truth", "--labels", "--num-classes",
    "--device", "--model", "--weights", "--image-dir",
)  # fmt: skip


@settings(many, max_examples=max(many.max_examples // 3, 1))
@given(st.dictionaries(st.sampled_from(FLAGS), WORD, max_size=2), st.lists(WORD, max_size=1))
def test_whatever_is_asked_ends_in_words(tmp_path, asked, named):
    (tmp_path / "net.py").write_text(NET)
    picture = noise(tmp_path / "in" / "a.png")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        options = {"--model": "net.py:build", "--layer": "0", "--size": "32"} | asked
        options = {
            name: word for name, word in options.items() if name != "--size" or len(word) < 4
        }
        words = [f"{name}={word}" for name, word in options.items()]
        done = CliRunner().invoke(
            app, ["explain", *words, "--out=out", "--", str(picture), *named], env={"COLUMNS": "80"}
        )
    finally:
        os.chdir(here)
    assert done.exit_code in (0, 1, 2), (words, done.output)
    assert "Traceback" not in done.output


KILLED = """
import os, sys
from pathlib import Path
from gradcam_hooks.apps.batch import Folder, Series
from tests.support.runs_on_disk import small_job

left, real = int(sys.argv[2]), os.replace

def replace(*words, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return real(*words, **options)

os.replace = Path.replace = replace
folder = Path(sys.argv[1])
Series(small_job(), sorted((folder / "in").iterdir()), folder / "out").go(batch_size=1)
print("done")
"""


@posix
def test_killed_before_any_of_its_files_is_in_place_it_goes_on_as_if_nothing_had_been(tmp_path):
    """Once before the second file takes its place, once before the fourth of those still to do."""
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(2)]
    Series(small_job(), pictures, tmp_path / "alone").go(batch_size=1)
    wanted = contents(tmp_path / "alone")
    statuses = []
    for step in (1, 3, 20):
        words = [sys.executable, "-c", KILLED, str(tmp_path), str(step)]
        statuses.append(subprocess.run(words, cwd=ROOT, check=False).returncode)
        kept = len(Series(small_job(), pictures, tmp_path / "out").kept)
    assert statuses[0] == -signal.SIGKILL
    assert (statuses[-1], kept) == (0, 2)
    assert contents(tmp_path / "out") == wanted
    assert len(lines(tmp_path / "out")) == 2


FULL = """
import resource, sys
from gradcam_hooks.apps.cli import app

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
app()
"""


@posix
def test_where_the_disk_takes_no_report_the_broken_pictures_are_told_all_the_same(tmp_path):
    noise(tmp_path / "in" / "whole.png", 0, (24, 36))
    (tmp_path / "in" / "torn.png").write_bytes(b"no picture")
    (tmp_path / "net.py").write_text(NET)
    words = ["explain", "in", "--model", "net.py:build", "--layer", "0", "--no-caption"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, "30000", *words],  # room for all but the report
        cwd=tmp_path,
        env=surroundings(PYTHONPATH=str(ROOT), COLUMNS="200"),
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert "broken: 'in/torn.png'" in told
    assert told.splitlines()[-1] == "error: 'gradcam_results/report.html': File too large"
    assert len(lines(tmp_path / "gradcam_results")) == 2
