"""The benchmark of networks judges as it says: some of its rows, one for each sort of fault."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.support.peers import new_torchcam

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

ROWS = {
    "torchvision mnasnet0_5": ("right", "right", "right", "right"),
    "torchvision densenet121": ("right", "wrong tensor", "wrong tensor", "right"),
    "timm vit": ("right", "crash ValueError", "wrong layer", "wrong axes"),
    "two inputs": ("right", "crash AttributeError", "crash TypeError", "right"),
    "a dict of outputs": (
        "right",
        "crash AttributeError",
        "crash TypeError",
        "crash AttributeError",
    ),
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_networks

    threads = torch.get_num_threads()
    yield bench_networks
    torch.set_num_threads(threads)
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")  # what timm and transformers say of themselves
@new_torchcam
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_each_sort(bench: ModuleType, name: str) -> None:
    row = bench._row(name)
    ways = (bench.OURS, *bench.PEERS)
    assert (
        tuple(f"{row.ways[way].word} {row.ways[way].kind}".rstrip() for way in ways) == ROWS[name]
    )
    # With its logits picked for it, nothing is left to crash on.
    if name == "a dict of outputs":
        assert [row.right(way, wrapped=True) for way in bench.PEERS] == [True, True, True]
    else:
        assert not row.wrapped


def test_a_map_is_right_blank_or_wrong(bench: ModuleType) -> None:
    truth = torch.tensor([[[1.0, -2.0], [0.5, 0.0]]])

    def word(raw: Tensor, truth: Tensor) -> str:
        return str(bench._verdict(raw, truth, "layer")[1].word)

    assert word(truth * (1 + 1e-7), truth) == "right"
    assert word(truth.relu(), truth) == "wrong"
    assert word(truth.mT, truth) == "wrong"
    assert word(truth[:, :1], truth) == "wrong"
    assert word(torch.zeros_like(truth), torch.zeros_like(truth)) == "blank"
    assert word(torch.ones_like(truth), torch.ones_like(truth)) == "blank"


def test_there_are_enough_networks_of_each_kind(bench: ModuleType) -> None:
    assert len(bench.NETWORKS) >= 35
    for start in ("torchvision", "timm", "transformers"):
        assert sum(name.startswith(start) for name in bench.NETWORKS) >= 8
    trials = [shapes[0][-2:] for given in bench.NETWORKS.values() for shapes in given.trials]
    square = sum(height == width for height, width in trials)
    assert min(square, len(trials) - square) >= 20
