"""The benchmark of a card goes its whole way on a CPU, and says what it passed over."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_gpu

    return bench_gpu


@pytest.mark.filterwarnings("ignore")  # what the peers and the profiler say of themselves
def test_each_part_is_measured_and_written(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(torch.device("cpu"), tmp_path / "gpu.json", 600, 1)
    right, fails = gpu.Case("resnet50", 1, size=32), gpu.Case("resnet50", 1, size=1)
    bench.part("price", lambda: bench.price([right, fails]))
    bench.part("waits", lambda: bench.syncs(32))
    bench.part("pipeline", lambda: bench.pipeline(4, 2, 32))
    bench.end = 0
    bench.part("repeated", lambda: bench.repeated(32))
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    ways = {one["way"]: one for one in found["price"]}
    assert {"plain inference", "gradcam_hooks", "torchcam", "captum", "grad-cam"} == ways.keys()
    assert ways["plain inference"]["ratio"] == 1
    assert all(one["ms"] > 0 and one["peak"] is None for one in ways.values())
    assert found["waits"]["maps on the device"] == 1
    assert len(found["pipeline"]) == 2
    assert "repeated: out of time" in found["passed over"]


def test_another_map_than_autograd_s_is_no_price(gpu: ModuleType, tmp_path: Path) -> None:
    from bench_gpu_cases import apart

    case = gpu.Case("resnet50", 2, size=64)
    model, images = case.build(torch.device("cpu")), case.images(torch.device("cpu"))
    assert apart(model, case, images, [3, 5]) < 1e-5
    model.layer4.register_forward_hook(lambda module, args, output: output.square())
    # What the layer's forward returned is explained, and not what another's hook made of it.
    assert apart(model, case, images, [3, 5]) > 1e-2
