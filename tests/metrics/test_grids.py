"""Truth by construction: what lies outside of the cell cannot matter, on random weights too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics.grids import cells_of

pytestmark = pytest.mark.usefixtures("one_thread")


def parts() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1)
    )
    head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return features.double(), head.double()


def images(count: int) -> Tensor:
    return torch.randn(
        count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )


@pytest.mark.parametrize("space", [(3,), (4, 2), (2, 3, 4)])
def test_cells_of_grids_are_what_went_in(space: tuple[int, ...]) -> None:
    x = torch.rand(2 * 2 ** len(space), 3, *space)
    whole = metrics.grids(x, 2)
    assert whole.shape == (2, 3, *(2 * n for n in space))
    assert torch.equal(cells_of(whole, 2).flatten(0, 1), x)


def test_reading_order() -> None:
    numbers = torch.arange(9.0).view(9, 1, 1, 1)
    assert metrics.grids(numbers, 3)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("setting", ["di_full", "di_part", "grid_pg"])
def test_what_the_network_hangs_on(setting: str) -> None:
    features, head = parts()
    net = metrics.Gridded(features, head, 2, setting).eval()  # type: ignore[arg-type]
    x = metrics.grids(images(4), 2).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[0, 3 if setting == "grid_pg" else 1 * 5 + 3], x)
    inside = cells_of(gradient, 2)[0].abs().amax((1, 2, 3)) > 0
    wanted = {"di_full": [0, 1, 0, 0], "grid_pg": [1, 1, 1, 1]}
    if setting == "di_part":  # its features look a little way around them
        edge = cells_of(gradient, 2)[0, 0].abs().amax(0)
        assert edge[:, -4:].any()
        assert not edge[:, :4].any()
    else:
        assert inside.int().tolist() == wanted[setting]
    if setting == "di_full":
        alone = head(features(images(4)))
        assert torch.allclose(net(x).view(4, 5), alone)


@pytest.mark.parametrize("method", ["hirescam", "layercam", "elementwise"])
def test_elementwise_methods_stay_inside_at_native_resolution(method: str) -> None:
    net = metrics.Gridded(*parts(), 2, "di_full").eval()
    x = metrics.grids(images(8), 2)
    for cell in range(4):
        result = gh.explain(net, x, "features_of_grid", method=method, target=cell * 5 + 2)
        assert isinstance(result.raw, Tensor)
        found = metrics.di_full(result.raw, cell, grid=2)
        lit = result.raw.relu().flatten(1).sum(1) > 0
        assert found.values.tolist() == lit.double().tolist()
    # Weights averaged over the whole layer leak; the metric sees it.
    leaks = gh.explain(net, x, "features_of_grid", method="gradcam", target=2)
    assert metrics.di_full(leaks.raw, 0, grid=2).mean < 0.9  # type: ignore[arg-type]


def test_a_target_has_a_cell_of_its_own() -> None:
    maps = torch.zeros(2, 2, 4, 4)
    maps[0, 0, 0, 0] = maps[0, 1, 3, 3] = maps[1, 0, 0, 3] = maps[1, 1, 3, 0] = 1
    found = metrics.grid_pg(maps, torch.tensor([[0, 3], [1, 0]]), grid=2)
    assert found.values.tolist() == [[1, 1], [1, 0]]
    assert metrics.grid_pg(torch.zeros(1, 4, 4), 0, grid=2).mean == 0
    assert metrics.grid_pg(torch.ones(1, 6, 6), 0).mean == pytest.approx(1 / 9)
    assert metrics.grid_pg(torch.ones(1, 4, 4, 4), 7, grid=2).mean == pytest.approx(1 / 8)


def test_pointing_by_hand() -> None:
    m = torch.zeros(4, 5, 5)
    m[0, 2, 2] = m[1, 0, 0] = 1  # the third is blank
    m[3, 0, 0] = m[3, 4, 4] = 1  # two maxima, one of which hits
    mask = torch.zeros(4, 5, 5, dtype=torch.bool)
    mask[:, 2:4, 2:4] = True
    mask[3, 4, 4] = True
    assert metrics.pointing_game(m, mask).values.tolist() == [1, 0, 0, 0.5]
    assert metrics.pointing_game(m, mask, tolerance=2.9).values.tolist() == [1, 1, 0, 1]
    assert metrics.pointing_game(m, mask, tolerance=2.8).values.tolist() == [1, 0, 0, 0.5]
    boxes = [[(2, 2, 4, 4)]] * 3 + [[(2, 2, 4, 4), (4, 4, 5, 5)]]
    assert torch.equal(metrics.masks_of(boxes, (5, 5)), mask)
    assert metrics.energy_pointing_game(m, boxes).values.tolist() == [1, 0, 0, 0.5]
    assert metrics.relevance_rank_accuracy(m[:1], mask[:1]).values.tolist()[0] >= 0.25
    assert metrics.iou(m, mask).values.tolist() == [0.25, 0, 0, 1 / 6]
    per_target = metrics.pointing_game(m[:2, None].expand(2, 3, 5, 5), mask[:2])
    assert per_target.values.tolist() == [[1] * 3, [0] * 3]


def test_a_network_drawn_anew_is_another_and_the_old_one_stays() -> None:
    features, head = parts()
    net = nn.Sequential(features, nn.BatchNorm2d(8).double(), head).eval()
    net.register_parameter("free", nn.Parameter(torch.arange(6.0)))
    before = {name: one.clone() for name, one in net.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    names = []
    for name, changed in metrics.cascade(net):
        names.append(name)
        own = dict(changed.named_parameters())
        same = [key for key, one in net.named_parameters() if torch.equal(one, own[key])]
        still = {"0.0.weight", "0.3.weight", "2.3.weight"} & set(same)
        assert len(still) == 3 - len({"0.0", "0.3", "2.3"} & set(names))
    assert names == ["2.3", "1", "0.3", "0.0", ""]
    assert [name for name, _ in metrics.cascade(net, order="bottom_up")] == names[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
    one, two, other = (metrics.randomised(net, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one[2][3].weight, two[2][3].weight)  # type: ignore[index]
    assert not torch.equal(one[2][3].weight, other[2][3].weight)  # type: ignore[index]
    assert sorted(one.free.tolist()) == list(range(6))  # type: ignore[operator, union-attr]
    with pytest.raises(gh.InputError, match="no weights"):
        metrics.randomised(nn.ReLU())
