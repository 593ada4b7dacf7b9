"""A folder and a data set on a cluster, whose drivers are killed: nothing is lost, or there twice.

One Ray serves both, with one process for each that drives it; they are forked of one that has
imported everything, since importing is what costs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Series
from gradcam_hooks.apps.cli import app
from tests.support.rows import said, same
from tests.support.runs_on_disk import contents, lines, noise, small_job

ROOT = Path(gh.__file__).parents[1]
RAY = importlib.util.find_spec("ray") is not None

needs_ray = pytest.mark.skipif(
    not RAY, reason="Ray is not installed: pip install 'gradcam-hooks[cluster]'"
)

NET = """
import os, signal, time
from pathlib import Path
from tests.support.runs_on_disk import dies_once, small_job

FOLDER = Path({folder!r})
seen = []

def at_fifth(done):
    "At the fifth picture, as soon as some of them are kept, the driver is killed, but once."
    seen.append(0)
    if len(seen) < 5 or not (FOLDER / "driver").exists():
        return
    while not done():
        time.sleep(0.02)
    pid = int((FOLDER / "driver").read_text())
    (FOLDER / "driver").unlink()
    os.kill(pid, signal.SIGKILL)

def of_a_folder():
    loaded = small_job().loaded
    journal = FOLDER / "far/.gradcam_hooks/journal.jsonl"
    kept = lambda: journal.exists() and '"file"' in journal.read_text()
    loaded.model.register_forward_pre_hook(lambda module, inputs: at_fifth(kept))
    return loaded.model

def of_a_data_set():
    done = lambda one: not one.name.endswith(".pending.parquet")
    kept = lambda: any(map(done, (FOLDER / "checkpoint").rglob("*.parquet")))

    def once(module, inputs):
        at_fifth(kept)
        if not (FOLDER / "driver").exists():
            dies_once(FOLDER)

    loaded = small_job().loaded
    loaded.model.register_forward_pre_hook(once)
    return loaded
"""
"""Networks that kill what drives them, and themselves."""

STEPS = """
import json, multiprocessing, os, sys
from pathlib import Path
import ray, ray.data
from ray.data.checkpoint import CheckpointConfig
import gradcam_hooks as gh
import gradcam_hooks.apps.cluster.remote, gradcam_hooks.apps.reported.running
from gradcam_hooks.apps.batch.series import Chunks, Elsewhere
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.cluster import remote
import net

folder = Path(sys.argv[1])
told = json.loads(sys.argv[2])

def head(ends, own):
    own.close()
    ray.init(num_cpus=4, object_store_memory=150_000_000, include_dashboard=False,
             log_to_driver=False)
    ends.send(ray.get_runtime_context().gcs_address)
    try:
        ends.recv()
    except EOFError:
        ray.shutdown()

def command(address):
    sys.argv[:] = ["gradcam-hooks", *told, "--cluster", address, "--workers", "1"]
    app(sys.argv[1:])

def data_set(address):
    ray.init(address, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=str(folder / "checkpoint"),
        delete_checkpoint_on_success=False,
    )
    paths = sorted(map(str, (folder / "in").iterdir()))
    given = ray.data.read_binary_files(paths, include_paths=True, override_num_blocks=len(paths))
    try:
        gh.explain_dataset(given, model=net.of_a_data_set, layer="0", workers=9)
    except gh.InputError as error:
        (folder / "few").write_text(str(error))
    rows = gh.explain_dataset(given, model=net.of_a_data_set, layer="0", batch_size=1)
    rows.write_parquet(str(folder / "rows"))

fork = multiprocessing.get_context("fork")
own, ends = fork.Pipe()
keeper = fork.Process(target=head, args=(ends, own))
keeper.start()
ends.close()
address = own.recv()
for step in (command, command, data_set, data_set):
    again = (folder / step.__name__).exists()
    driver = fork.Process(target=lambda: (own.close(), step(address)))
    driver.start()
    if not again:
        (folder / step.__name__).touch()
        (folder / "driver").write_text(str(driver.pid))
    driver.join()
    print(step.__name__, driver.exitcode, flush=True)
own.close()
keeper.join()
"""


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which a command and a data set were driven, killed and driven again."""
    folder = tmp_path_factory.mktemp("cluster")
    pictures = [noise(folder / "in" / f"{i}.png", i) for i in range(8)]
    pictures[1].write_bytes(b"no picture")
    (folder / "net.py").write_text(NET.format(folder=str(folder)))
    driver = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", STEPS, str(folder), json.dumps(words("far"))],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
             "RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000",
             "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"},
    )  # fmt: skip
    try:
        out, told = driver.communicate(timeout=600)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)  # what hangs is not left behind
    assert driver.returncode == 0, told[-3000:]
    return folder, [*out.splitlines(), told]


def words(out: str) -> list[str]:
    how = ["--model", "net.py:of_a_folder", "--layer", "0", "--batch-size", "1", "--out", out]
    return ["explain", "in", *how]


@needs_ray
def test_a_folder_on_a_cluster_is_what_it_is_without_though_the_command_is_killed(
    driven, monkeypatch
):
    """The same files and records; and either takes up what the other has left."""
    folder, told = driven
    codes = [line.split()[1] for line in told if line.startswith("command ")]
    assert codes == [str(-signal.SIGKILL), "1"], told[-1][-3000:]  # one picture is broken
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, words("near")).exit_code == 1
    far, near = contents(folder / "far"), contents(folder / "near")
    assert far.keys() == near.keys()
    for one, other in zip(lines(folder / "far"), lines(folder / "near"), strict=True):
        same(one, other)
    again = CliRunner().invoke(app, words("far"))
    assert "7 kept from an earlier run" in again.stdout
    assert "1 broken" in again.stdout


@needs_ray
def test_rows_are_the_command_s_records_though_the_driver_and_a_worker_die(driven, tmp_path):
    """By Ray's own checkpoints nothing is lost, and nothing is there twice."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, told = driven
    codes = [line.split()[1] for line in told if line.startswith("data_set ")]
    assert codes == [str(-signal.SIGKILL), "0"], told[-1][-3000:]
    assert (folder / "died").exists()
    table = parquet.read_table(folder / "rows").to_pylist()
    rows = {Path(row["path"]).name: row for row in table}
    pictures = sorted((folder / "in").iterdir())
    records = Series(small_job(), pictures, tmp_path / "out").go(batch_size=1)
    assert len(rows) == len(table) == len(records) == 8
    for record in records:
        row = rows[Path(record.file).name]
        if record.error is None:
            same(row, said(record))
            assert (len(row["map"]), row["map_shape"]) == (4 * 32 * 40, [32, 40])
        else:
            assert "no picture that Pillow knows" in row["error"]
            assert row["map"] is row["score"] is None
    assert_measured_in_parts(table)
    few = (folder / "few").read_text()
    assert "the workers need 9 CPUs and 2 for Ray's own work, and 4 are free of 4, 7 too few" in few


def assert_measured_in_parts(rows: list[dict]) -> None:
    """States that were sent and merged say what one call on all maps does."""
    maps = [
        torch.from_numpy(np.frombuffer(row["map"], np.float32).copy()).reshape(row["map_shape"])
        for row in rows
        if row["map"] is not None
    ]
    states = [gh.metrics.State("sparseness") for _ in range(3)]
    for number, one in enumerate(maps):
        states[3 * number // len(maps)].update(one[None])
    first, *others = (pickle.loads(pickle.dumps(state)) for state in states)
    merged = first.merge(*others).compute()
    torch.testing.assert_close(merged.values, gh.metrics.sparseness(torch.stack(maps)).values)
