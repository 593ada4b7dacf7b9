"""A data set through a real Ray: rows equal to the command's records, whatever dies on the way."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Series
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.cluster.worker import COLUMNS, Asked, Worker
from tests.support.runs_on_disk import noise, small_job

ROOT = Path(gh.__file__).parents[1]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install 'gradcam-hooks[cluster]'",
)

ROWS = """
import json, os, sys
from pathlib import Path
import ray
import gradcam_hooks as gh
from tests.support.runs_on_disk import small_job

folder = Path(sys.argv[1])

def network():
    def once(module, inputs):
        try:
            (folder / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(1)  # as if the machine had gone

    loaded = small_job().loaded
    loaded.model.register_forward_pre_hook(once)
    return loaded

ray.init(num_cpus=3, object_store_memory=150_000_000, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
rows = gh.explain_dataset(folder / "in", model=network, layer="0", batch_size=2).take_all()
print("ROWS", json.dumps([{**row, "map": row["map"] and len(row["map"])} for row in rows]))
try:
    gh.explain_dataset(folder / "in", model=network, layer="0", workers=9)
except gh.InputError as error:
    print("FEW", error)
ray.shutdown()
"""


def test_rows_are_the_command_s_records_though_a_worker_dies(tmp_path):
    pictures = [noise(tmp_path / "in" / f"{i}.png", i) for i in range(6)]
    pictures[2].write_bytes(b"no picture")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ROWS, str(tmp_path)],
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
            wanted = said(record)
            numbers = {name: one for name, one in wanted.items() if isinstance(one, float)}
            assert {name: row[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
            others = wanted.keys() - numbers.keys()
            assert {name: row[name] for name in others} == {name: wanted[name] for name in others}
            assert (row["map"], row["map_shape"]) == (4 * 32 * 40, [32, 40])
        else:
            assert "no picture that Pillow knows" in row["error"]
            assert row["map"] is row["score"] is None
    assert "the workers need 9 CPUs and 1 for Ray's own work" in told["FEW"]


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


def said(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in COLUMNS}
