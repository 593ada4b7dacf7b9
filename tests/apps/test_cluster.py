"""A data set through a real Ray: rows equal to the command's records, though a worker dies."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.audited import FILES, audit_files
from gradcam_hooks.apps.audited.run import Far
from gradcam_hooks.apps.batch import Job, Series
from gradcam_hooks.apps.batch.outcomes import failed, packed
from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.apps.batch.series import Chunks, Elsewhere
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.cluster import looks, pool, remote
from gradcam_hooks.apps.cluster.pool import Make
from gradcam_hooks.apps.cluster.worker import COLUMNS, Asked, Worker
from gradcam_hooks.auditing.keeping import Part
from gradcam_hooks.auditing.run import Ask
from gradcam_hooks.stream.feed import pickled
from tests.support.rows import said, same
from tests.support.runs_on_disk import contents, noise, small_job

AUDIT = {"layer": "0", "trials": 4, "agreement": 0, "batch_size": 2}

ROOT = Path(gh.__file__).parents[1]
RAY = importlib.util.find_spec("ray") is not None

needs_ray = pytest.mark.skipif(
    not RAY, reason="Ray is not installed: pip install 'gradcam-hooks[cluster]'"
)

ROWS = """
import json, os, sys
from pathlib import Path
import ray
import gradcam_hooks as gh
from gradcam_hooks.apps.audited import audit_files
from gradcam_hooks.apps.cluster.looks import RemoteLook
from gradcam_hooks.apps.cluster.pool import Pool
from tests.support.runs_on_disk import dies_once, small_job

folder = Path(sys.argv[1])

def network():
    loaded = small_job().loaded
    loaded.model.register_forward_pre_hook(lambda module, inputs: dies_once(folder))
    return loaded

ray.init(num_cpus=3, object_store_memory=150_000_000, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
rows = gh.explain_dataset(folder / "in", model=network, layer="0", batch_size=2).take_all()
print("ROWS", json.dumps([{**row, "map": row["map"] and len(row["map"])} for row in rows]))
try:
    gh.explain_dataset(folder / "in", model=network, layer="0", workers=9)
except gh.InputError as error:
    print("FEW", error)
def sent(device):
    return small_job().loaded

good = [path for path in sorted((folder / "in").iterdir()) if path.name != "2.png"]
far = [RemoteLook(sent, Pool("auto", workers=2))]
audit_files(small_job().loaded, good, folder / "far", far=far, **json.loads(sys.argv[2]))
ray.shutdown()
"""


@needs_ray
def test_rows_are_the_command_s_records_though_a_worker_dies(tmp_path):
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(6)]
    pictures[2].write_bytes(b"no picture")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ROWS, str(tmp_path), json.dumps(AUDIT)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "120",
             "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    rows = {Path(row["path"]).name: row for row in json.loads(told["ROWS"])}
    assert (tmp_path / "died").exists()
    records = Series(small_job(), pictures, tmp_path / "out").go(batch_size=2)
    assert len(rows) == len(records) == 6
    for record in records:
        row = rows[Path(record.file).name]
        if record.error is None:
            same(row, said(record))
            assert (row["map"], row["map_shape"]) == (4 * 32 * 40, [32, 40])
        else:
            assert "no picture that Pillow knows" in row["error"]
            assert row["map"] is row["score"] is None
    assert "the workers need 9 CPUs and 1 for Ray's own work" in told["FEW"]
    # An audit, which two of them have looked for, finds what this process finds.
    good = [one for one in pictures if one != pictures[2]]
    audit_files(small_job().loaded, good, tmp_path / "near", **AUDIT)
    for name in FILES:
        assert (tmp_path / "far" / name).read_text() == (tmp_path / "near" / name).read_text()


@needs_ray
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--cluster", "127.0.0.1:9"], "nobody answers at '127.0.0.1:9'"),
        (["--cluster", "my-machine"], "--cluster is auto, or the address of a Ray cluster's head"),
        (["--cluster", "auto", "--device", "cuda:1"], "the GPU that Ray gives it"),
        (["--cluster", "auto", "--workers", "0"], "--workers, with --cluster, is a whole number"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "audit"])
def test_a_cluster_that_cannot_be_is_refused_before_anything_is_loaded(
    command, more, told, tmp_path
):
    picture, out = str(noise(tmp_path / "a.png")), str(tmp_path / "out")
    given = [command, picture, "--model", "nothing", "--out", out, *more]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    given = ["explain", str(noise(tmp_path / "a.png")), "--model", "x", "--cluster", "auto"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "pip install 'gradcam-hooks[cluster]'" in done.stderr


class OwnError(Exception):
    """One that cannot be read back."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def test_what_the_network_raised_can_be_sent_in_the_same_words():
    outcome = failed(OwnError(1, 2), (3, 4, 5))
    sent = packed(outcome)
    assert sent.reason == outcome.reason == "the network fails on it: OwnError: 1 and 2"
    assert pickle.loads(pickled(sent)) == sent
    assert str(sent.raised(Path("a.png"))) == str(outcome.raised(Path("a.png")))


@needs_ray
def test_a_folder_by_way_of_a_worker_is_the_command_s_to_the_byte(tmp_path, monkeypatch):
    """And one that has made another network, or does not see the pictures, says so."""
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(5)]
    pictures[1].write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)  # which a worker changes
    near = Series(small_job(), pictures, tmp_path / "near").go(batch_size=2)
    far = Series(small_job(), pictures, tmp_path / "far")
    assert far.go(batch_size=2, elsewhere=by_a_worker(small_job(), tmp_path)) == near
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    other = Series(small_job(), pictures, tmp_path / "other")
    with pytest.raises(gh.ModelError, match="has made another network of the same words"):
        other.go(elsewhere=by_a_worker(small_job(target=1), tmp_path))
    other = Series(small_job(layer="x"), pictures, tmp_path / "other")
    with pytest.raises(gh.LayerNotFound, match="no layer 'x'"):
        other.go(elsewhere=by_a_worker(small_job(layer="x"), tmp_path))
    with pytest.raises(gh.ModelError, match="all machines need the same folders"):
        other.go(elsewhere=by_a_worker(small_job(layer="x"), tmp_path / "nowhere"))
    assert not (tmp_path / "other").exists()
    last = Series(small_job(), pictures[3:], tmp_path / "last")
    pictures[4].unlink()
    records = last.go(elsewhere=by_a_worker(small_job(), tmp_path))
    assert [record.error is None for record in records] == [True, False]
    assert "all machines need the same pictures under the same paths" in str(records[1].error)


def by_a_worker(job: Job, home: Path) -> Elsewhere:
    """What Ray does with a worker, without Ray."""

    def elsewhere(tasks: Sequence[Task], size: int, fingerprint: str) -> Chunks:
        make = partial(remote.doing, lambda device: job, size, 10**8, fingerprint)
        for chunk in worked(make, tasks, size, home):
            yield [(tasks[number], outcome) for number, outcome in chunk]

    return elsewhere


def worked(
    make: Make, things: Sequence[object], size: int, home: Path
) -> Iterator[list[tuple[int, Any]]]:
    """What Ray does with a worker, without Ray; the last batch first."""
    arrow = pytest.importorskip("pyarrow")
    worker = pool.Worker(make, "cpu", home)
    for start in reversed(range(0, len(things), size)):
        numbers = list(range(start, min(start + size, len(things))))
        blobs = [pickle.dumps(things[number]) for number in numbers]
        yield pool.found_in(worker(arrow.table({"number": numbers, "thing": blobs})))


@needs_ray
def test_an_audit_by_way_of_workers_is_the_command_s_to_the_byte(tmp_path, monkeypatch):
    """And keeps what they saw; a worker that has made another network says so."""
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(7)]
    monkeypatch.chdir(tmp_path)  # which a worker changes

    def run(out: str, *far: Far) -> dict[str, bytes]:
        audit_files(small_job().loaded, pictures, tmp_path / out, far=far, **AUDIT)
        return contents(tmp_path / out)

    def by_workers(ask: Ask, fingerprint: str, numbers: Sequence[int]) -> Iterator[Part]:
        sent.extend(numbers)
        make = partial(looks.seeing, lambda device: made().loaded, ask, fingerprint)
        for chunk in worked(make, numbers, 2, tmp_path):
            yield from (part for _, part in chunk if part is not None)

    made, sent = small_job, list[int]()
    near, far = run("near"), run("far", by_workers)
    assert sent == list(range(7))
    assert {name: near[name] for name in FILES} == {name: far[name] for name in FILES}
    noise(pictures[3], 99)
    sent.clear()
    run("far", by_workers)
    assert sent == [3]

    made = other_network
    with pytest.raises(gh.ModelError, match="has made another network of the same words"):
        run("other", by_workers)
    assert not (tmp_path / "other").exists()


def other_network() -> Job:
    job = small_job()
    torch.nn.init.zeros_(job.loaded.model[3].weight)
    return job


@needs_ray
def test_a_batch_of_rows_is_a_batch_of_the_command_s_to_the_bit(tmp_path):
    """And where it has no column of pictures, that is said."""
    arrow = pytest.importorskip("pyarrow")
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(4)]
    pictures[1].write_bytes(b"no picture")
    options = {"method": "gradcam", "layer": "0"}
    worker = Worker(Asked(lambda: small_job().loaded, "bytes", options=options))
    given = {"bytes": [one.read_bytes() for one in pictures], "path": [*map(str, pictures)]}
    rows = worker(arrow.table(given)).to_pylist()
    records = Series(small_job(), pictures, tmp_path / "out").go()
    assert [row["path"] for row in rows] == given["path"]
    for row, record, path in zip(rows, records, pictures, strict=True):
        if record.error is None:
            assert {name: row[name] for name in COLUMNS} == said(record)
            whole = gh.explain(small_job().loaded, path, "0").maps[0].numpy()
            mine = np.frombuffer(row["map"], np.float32).reshape(row["map_shape"])
            np.testing.assert_allclose(mine, whole, atol=1e-5)
        else:
            assert "no picture that Pillow knows" in row["error"]
            assert row["map"] is row["score"] is None
    with pytest.raises(gh.InputError, match=r"there is none 'bytes'; there are path"):
        worker(arrow.table({"path": ["a"]}))
    with pytest.raises(gh.InputError, match=r"lose them: label, map\. .*\{'label': 'own_label'\}"):
        worker(arrow.table({**given, "label": ["a"] * 4, "map": [1] * 4}))
