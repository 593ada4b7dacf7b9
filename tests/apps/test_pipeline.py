"""Reading ahead, drawing behind, and what of it is seen: the same results, and smaller overlays."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Record, Series
from gradcam_hooks.apps.batch.reading import Reading
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.cli.running import NobodyReadsError, Told
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.sizes import smaller
from tests.support.runs_on_disk import NET, contents, lines, noise, small_job


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    found = [noise(tmp_path / "in" / f"{i}.png", i, (60, 90 + i)) for i in range(7)]
    found[3].write_bytes(b"no picture")
    return found


def test_workers_change_nothing_to_the_bit(pictures, tmp_path):
    """Where the batches are the same; the lines and every file are."""
    for workers in (0, 2):
        series = Series(small_job(max_side=40), pictures, tmp_path / f"out{workers}")
        told = []
        records = series.go(batch_size=2, workers=workers, progress=told.append)
        assert told == records
    one, other = (contents(tmp_path / f"out{workers}") for workers in (0, 2))
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.skipif(os.name != "posix", reason="processes are killed as POSIX does")
def test_a_reader_that_is_killed_loses_one_picture_and_no_other(pictures, tmp_path, monkeypatch):
    real, home = Reading.__call__, os.getpid()

    def read(self, task):
        if task.path.name == "5.png" and os.getpid() != home:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, task)

    monkeypatch.setattr(Reading, "__call__", read)
    records = Series(small_job(), pictures, tmp_path / "out").go(batch_size=2, workers=2)
    assert [record.error is None for record in records] == [True] * 3 + [False, True, False, True]
    assert "the process that read it was ended" in str(records[5].error)
    monkeypatch.undo()
    assert [one.file[-5:] for one in Series(small_job(), pictures, tmp_path / "out").kept] == [
        "0.png", "1.png", "2.png", "4.png", "6.png",
    ]  # fmt: skip


def test_where_memory_gives_out_the_batch_is_halved(pictures, tmp_path):
    job = small_job()
    seen = []

    def forward(module, inputs):
        seen.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("no room")

    handle = job.loaded.model.register_forward_pre_hook(forward)
    records = Series(job, pictures, tmp_path / "out").go(batch_size=8)
    handle.remove()
    assert [record.error is None for record in records].count(True) == 6
    assert seen == [6, 3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("kind", "suffix"), [("jpeg", "jpg"), ("webp", "webp"), ("png", "png")])
def test_overlays_are_as_small_and_of_the_kind_that_is_asked(kind, suffix, pictures, tmp_path):
    job = small_job(max_side=45, image_format=kind)
    (record,) = Series(job, pictures[:1], tmp_path / "out").go()
    assert record.overlay == f"overlays/0.{suffix}"
    with Image.open(tmp_path / "out" / str(record.overlay)) as drawn:
        assert (drawn.format, drawn.size) == (kind.upper(), (45, 30))
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    # The record's geometry is of the picture itself.
    assert Geometry.from_dict(record.geometry).original == (60, 90)
    with Image.open(pictures[0]) as picture:
        small = smaller(picture.convert("RGB"), 45)
    whole = gh.explain(job.loaded, pictures[0], "0").overlay(small)
    assert np.abs(pixels - np.asarray(whole)).mean() < (1 if kind == "png" else 25)
    assert len({small_job(**{**of, "max_side": side}).fingerprint() for of in ({}, {
        "image_format": kind}) for side in (None, 45)}) == (2 if kind == "png" else 4)  # fmt: skip


def test_nonsense_is_refused():
    for how in ({"max_side": 0}, {"image_format": "bmp"}):
        with pytest.raises(gh.InputError, match=r"max_side=|image_format="):
            small_job(**how)


@pytest.fixture
def command(pictures, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)

    def run(*words: str):
        base = ["explain", "in", "--model", "net.py:build", "--layer", "0", "--size", "32"]
        return CliRunner().invoke(app, [*base, *words])

    return run


def test_json_prints_the_records_and_quiet_what_is_wrong(command, tmp_path):
    done = command("--json")
    assert done.exit_code == 1
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert printed == lines(tmp_path / "gradcam_results")
    again = [json.loads(line)["file"] for line in command("--json").stdout.splitlines()]
    assert sorted(again) == sorted(one["file"] for one in printed)  # those that are kept as well
    done = command("--quiet")
    assert (done.stdout, done.exit_code) == ("", 1)
    assert done.stderr.startswith("broken: 'in/3.png' is no picture")


def test_overlays_of_the_command(command, tmp_path):
    command("--max-side", "45", "--format", "webp", "--no-caption")
    with Image.open(tmp_path / "gradcam_results" / "overlays" / "0.webp") as drawn:
        assert drawn.size == (45, 30)


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed as POSIX does")
def test_where_nobody_reads_the_records_the_run_stops(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as file:
        monkeypatch.setattr("sys.stdout", file)
        with pytest.raises(NobodyReadsError):
            Told(json=True).line("", Record("a.png"))
