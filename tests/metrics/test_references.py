"""Each metric against plain loops in float64, written from its formula and nothing else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from gradcam_hooks import metrics
from gradcam_hooks.metrics.cases import chance
from gradcam_hooks.metrics.imputing import imputed
from gradcam_hooks.metrics.likeness import spearman, ssim
from gradcam_hooks.runs.masks import blurred
from tests.support.nets import gap_linear, images

pytestmark = pytest.mark.usefixtures("one_thread")

NET, X = gap_linear().eval(), images(3, (6, 7))
CLASSES = [1, 4, 0]
MAPS = torch.randn(3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SCORE = metrics.scored(NET, X, CLASSES)


def y(index: int, image: Tensor) -> float:
    with torch.no_grad():
        return float(NET(image[None])[0, CLASSES[index]])


def order(m: Tensor) -> list[int]:
    return sorted(range(m.numel()), key=lambda at: -float(m.flatten()[at]))


def without(image: Tensor, places: list[int], fill: Tensor) -> Tensor:
    changed = image.clone().flatten(1)
    changed[:, places] = fill.flatten(1)[:, places]
    return changed.view(image.shape)


def unit(m: Tensor) -> Tensor:
    return (m - m.min()) / (m.max() - m.min())


def agree(found: metrics.Measured, wanted: list[float], within: float = 1e-9) -> None:
    assert found.values.tolist() == pytest.approx(wanted, abs=within)


@pytest.mark.parametrize("name", ["insertion", "deletion"])
def test_insertion_and_deletion(name: str) -> None:
    wanted = []
    for i, (x, m) in enumerate(zip(X, MAPS, strict=True)):
        fill = blurred(x[None], 11, 5.0)[0] if name == "insertion" else torch.zeros_like(x)
        counts, scores = [0, 8, 17, 25, 34, 42], []
        for count in counts:
            places = order(m)[:count] if name == "deletion" else order(m)[count:]
            scores.append(y(i, without(x, places, fill)))
        parts = itertools.pairwise(zip(counts, scores, strict=True))
        wanted.append(sum((b - a) * (s + t) / 2 for (a, s), (b, t) in parts) / 42)
    agree(getattr(metrics, name)(SCORE, X, MAPS, steps=5), wanted)


def solved(x: Tensor, unknown: list[int]) -> Tensor:
    """ROAD's equations one by one, solved densely."""
    height, width = x.shape[1:]
    left, right = np.zeros((len(unknown),) * 2), np.zeros((len(unknown), len(x)))
    for row, at in enumerate(unknown):
        for down, across in itertools.product((-1, 0, 1), repeat=2):
            r, c = at // width + down, at % width + across
            if (down, across) == (0, 0) or not (0 <= r < height and 0 <= c < width):
                continue
            weight = 1 / 12 if down and across else 1 / 6
            left[row, row] += weight
            if r * width + c in unknown:
                left[row, unknown.index(r * width + c)] -= weight
            else:
                right[row] += weight * x[:, r, c].numpy()
    whole = x.clone().flatten(1)
    whole[:, unknown] = torch.from_numpy(np.linalg.solve(left, right).T)
    return whole.view(x.shape)


def test_road() -> None:
    wanted = []
    for i, (x, m) in enumerate(zip(X, MAPS, strict=True)):
        gaps = []
        for count in (8, 25):
            most, least = order(m)[:count], order(m)[::-1][:count]
            gaps.append((y(i, solved(x, least)) - y(i, solved(x, most))) / 2)
        wanted.append(sum(gaps) / 2)
    found = metrics.road(SCORE, X, MAPS, shares=(0.2, 0.6), noise=0)
    agree(found, wanted, 1e-8)
    most = metrics.road(SCORE, X, MAPS, order="most", shares=(0.2, 0.6), noise=0)
    assert most.values.tolist() == pytest.approx(found.curves["most"].mean(1).tolist())
    assert (found.higher_is_better, most.higher_is_better) == (True, False)


def test_what_road_adds_is_noise_where_something_went() -> None:
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return x.sum((1, 2, 3))

    x = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    m = torch.arange(1600.0).view(1, 40, 40)
    once = metrics.road(score, x, m, order="most", shares=(0.5,), noise=0.01)
    assert seen[0][0, 0, :20].eq(0).all()
    assert float(seen[0][0, 0, 20:].std()) == pytest.approx(0.01, rel=0.1)
    again = metrics.road(score, x, m, order="most", shares=(0.5,), noise=0.01)
    other = metrics.road(score, x, m, order="most", shares=(0.5,), noise=0.01, seed=1)
    assert torch.equal(once.values, again.values)
    assert not torch.equal(once.values, other.values)


@pytest.mark.parametrize("space", [(30,), (5, 6), (3, 4, 5)])
def test_a_linear_image_is_imputed_in_any_rank(space: tuple[int, ...]) -> None:
    # A plane is the mean of its neighbours wherever these lie on both sides.
    x = sum(
        torch.arange(n).double().view(-1, *[1] * (len(space) - 1 - axis)) * (axis + 1)
        for axis, n in enumerate(space)
    ).expand(1, 1, *space)
    inner = torch.ones(1, *space, dtype=torch.bool)
    inner[(0, *(slice(1, -1) for _ in space))] = False
    assert torch.allclose(imputed(x * inner[:, None], inner), x, atol=1e-8)
    nothing = torch.zeros_like(inner)
    assert torch.allclose(imputed(x, nothing), x.mean().expand_as(x))


def test_drops() -> None:
    probability = metrics.scored(NET, X, lambda out: out.softmax(1)[:, 1])
    drops, rises, gains = [], [], []
    for x, m in zip(X, MAPS, strict=True):
        with torch.no_grad():
            before = float(NET(x[None]).softmax(1)[0, 1])
            after = float(NET((x * unit(m))[None]).softmax(1)[0, 1])
        drops.append(max(0.0, before - after) / before)
        rises.append(float(after > before))
        gains.append(max(0.0, after - before) / (1 - before))
    agree(metrics.average_drop(probability, X, MAPS), drops)
    agree(metrics.increase(probability, X, MAPS), rises)
    agree(metrics.gain(probability, X, MAPS), gains)
    again = MAPS.flip(0)
    parts = []
    for m, other, drop in zip(MAPS, again, drops, strict=True):
        alike = (scipy.stats.pearsonr(m.flatten(), other.flatten()).statistic + 1) / 2
        parts.append([alike, 1 - float(unit(m).mean()), 1 - drop])
    agree(metrics.coherency(MAPS, again), [one[0] for one in parts])
    agree(metrics.complexity(MAPS), [1 - one[1] for one in parts])
    wanted = [scipy.stats.hmean(one) for one in parts]
    agree(metrics.adcc(probability, X, MAPS, again), wanted)
    road = metrics.road(probability, X, MAPS, shares=(0.5,), noise=0).values * 2
    wanted = [
        scipy.stats.hmean([*one[:2], gap]) if gap > 0 else 0.0
        for one, gap in zip(parts, road.tolist(), strict=True)
    ]
    agree(metrics.arcc(probability, X, MAPS, again, shares=(0.5,), noise=0), wanted)


def test_sparseness_is_half_the_mean_difference_over_the_mean() -> None:
    wanted = []
    for m in MAPS.abs().flatten(1):
        apart = (m[:, None] - m[None]).abs().mean()
        wanted.append(float(apart / (2 * m.mean())))
    agree(metrics.sparseness(MAPS), wanted)


@pytest.mark.parametrize("normalize", [True, False])
def test_infidelity(normalize: bool) -> None:
    found = metrics.infidelity(SCORE, X, MAPS, samples=4, side=0.4, normalize=normalize, seed=3)
    generator = torch.Generator().manual_seed(3)
    tops = torch.randint(6 - 2 + 1, (4, 1), generator=generator).flatten().tolist()
    lefts = torch.randint(7 - 3 + 1, (4, 1), generator=generator).flatten().tolist()
    noisy = metrics.infidelity(SCORE, X, MAPS, kind="noise", samples=4, normalize=normalize)
    wanted, wanted_noisy = [], []
    for i, (x, m) in enumerate(zip(X, MAPS, strict=True)):
        told, falls = [], []
        for top, left in zip(tops, lefts, strict=True):
            hole = x.clone()
            hole[:, top : top + 2, left : left + 3] = 0
            told.append(float(m[top : top + 2, left : left + 3].sum()))
            falls.append(y(i, x) - y(i, hole))
        wanted.append(error(told, falls, normalize))
        told, falls = [], []
        for number in range(4):
            drawn = torch.randn(x.shape, generator=chance(0, i, number), dtype=torch.float64) * 0.2
            told.append(float((drawn * m).sum()))
            falls.append(y(i, x) - y(i, x - drawn))
        wanted_noisy.append(error(told, falls, normalize))
    agree(found, wanted)
    agree(noisy, wanted_noisy)


def error(told: list[float], falls: list[float], normalize: bool) -> float:
    a, b = np.array(told), np.array(falls)
    factor = (a @ b) / (a @ a) if normalize else 1
    return float(np.mean((factor * a - b) ** 2))


@pytest.mark.parametrize("how", ["spearman", "pearson"])
def test_idsds(how: str) -> None:
    wanted = []
    for i, (x, m) in enumerate(zip(X, MAPS, strict=True)):
        told, falls = [], []
        for rows, columns in itertools.product([(0, 3), (3, 6)], [(0, 4), (4, 7)]):
            hole = x.clone()
            hole[:, slice(*rows), slice(*columns)] = 0
            told.append(float(m[slice(*rows), slice(*columns)].sum()))
            falls.append(y(i, x) - y(i, hole))
        of = scipy.stats.spearmanr if how == "spearman" else scipy.stats.pearsonr
        wanted.append(float(of(told, falls).statistic))
    agree(metrics.idsds(SCORE, X, MAPS, patches=2, correlation=how), wanted)


def test_idsds_where_one_side_says_nothing() -> None:
    even = X[..., :6]
    score = metrics.scored(NET, even, CLASSES)
    dumb = metrics.idsds(score, even, torch.ones(3, 6, 6), patches=2)
    assert dumb.values.tolist() == [0, 0, 0]
    flat = metrics.idsds(lambda x: torch.ones(len(x)), X, MAPS, patches=2)
    assert flat.count == 0
    assert math.isnan(flat.mean)


def test_f_fidelity_draws_as_many_as_it_says_and_from_where() -> None:
    # Every position of the top is worth 1 and every other 0.1, so whatever is drawn tells how many.
    x = torch.full((1, 1, 10, 10), 0.1, dtype=torch.float64)
    x.view(-1)[:40] = 1.0
    found = metrics.f_fidelity(
        lambda given: given.sum((1, 2, 3)), x, x[:, 0], shares=(0.1, 0.4), samples=3
    )
    assert found.curve("top").tolist() == pytest.approx([5, 10])  # half of 10; a tenth of 100
    assert found.curves["rest"][0, 1] == pytest.approx(1.0)  # ten of the rest
    few = metrics.f_fidelity(
        lambda given: given.sum((1, 2, 3)), x, x[:, 0], shares=(0.4,), samples=3, most=0.05
    )
    assert few.values.tolist() == pytest.approx([5 - 0.5])


def test_contrast() -> None:
    foil = metrics.scored(NET, X, 2)
    found = metrics.contrastive_faithfulness(SCORE, foil, X, MAPS, fill=0.5, steps=6)
    wanted = []
    for i, (x, m) in enumerate(zip(X, MAPS, strict=True)):
        areas = []
        for places in (order(m)[::-1], order(m)):
            scores = []
            for count in range(0, 43, 7):
                hole = without(x, places[:count], torch.full_like(x, 0.5))
                with torch.no_grad():
                    scores.append(y(i, hole) - float(NET(hole[None])[0, 2]))
            areas.append((sum(scores) - (scores[0] + scores[-1]) / 2) / 6)
        wanted.append(areas[0] - areas[1])
    agree(found, wanted)


def test_max_sensitivity() -> None:
    def explain(x: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(NET(leaf)[:, 1].sum(), leaf)
        return (gradient * x).sum(1)

    found = metrics.max_sensitivity(explain, X, explain(X), samples=3, seed=2)
    wanted = []
    for i, x in enumerate(X):
        moves = []
        for number in range(3):
            drawn = torch.rand(x.shape, generator=chance(2, i, number)).double()
            after = explain((x + 0.02 * (2 * drawn - 1))[None])[0]
            before = explain(x[None])[0]
            moves.append(float((after - before).norm() / before.norm()))
        wanted.append(max(moves))
    agree(found, wanted)


def test_likeness_is_scipys_and_scikit_images() -> None:
    tied = MAPS.round()
    other = MAPS.flip(0)
    wanted = [
        scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic
        for a, b in zip(tied, other, strict=True)
    ]
    assert spearman(tied.flatten(1), other.flatten(1)).tolist() == pytest.approx(wanted)
    big = torch.randn(2, 12, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    one, two = big
    low, high = float(big.min()), float(big.max())
    wanted_ssim = structural_similarity(
        ((one - low) / (high - low)).numpy(), ((two - low) / (high - low)).numpy(), data_range=1.0
    )
    assert float(ssim(one[None], two[None])) == pytest.approx(wanted_ssim, abs=1e-9)


def test_randomisation_tests() -> None:
    steps = [MAPS.flip(0), MAPS.flip(1), MAPS.flip(2)]
    found = metrics.mprt(MAPS, steps)
    wanted = [
        [scipy.stats.spearmanr(m.flatten(), s.flatten()).statistic for s in of]
        for m, *of in zip(MAPS, *steps, strict=True)
    ]
    assert found.curves["layers"].flatten().tolist() == pytest.approx(
        list(itertools.chain(*wanted))
    )
    agree(found, [sum(one) / 3 for one in wanted])
    noisy = torch.stack([MAPS, MAPS + 1])
    agree(metrics.smprt(noisy, [torch.stack([s, s]) for s in steps]), found.values.tolist())
    entropies = [
        [scipy.stats.entropy(np.histogram(m.numpy(), 20)[0]) for m in maps]
        for maps in (MAPS, steps[0] ** 3)
    ]
    rises = [(after - before) / before for before, after in zip(*entropies, strict=True)]
    agree(metrics.emprt(MAPS, steps[0] ** 3, bins=20), rises)


def test_max_box_acc() -> None:
    maps = torch.nn.functional.interpolate(MAPS[:, None], (24, 28), mode="bilinear")[:, 0]
    boxes = [[(3, 2, 15, 13)], [(10, 4, 28, 20), (0, 0, 4, 4)], [(5, 5, 9, 24)]]
    hits = np.zeros((3, 10, 2))
    for i, (m, own) in enumerate(zip(maps, boxes, strict=True)):
        for level in range(10):
            labels, count = scipy.ndimage.label(unit(m) > level / 10, np.ones((3, 3)))
            sizes = [int((labels == k + 1).sum()) for k in range(count)]
            around = scipy.ndimage.find_objects(labels)
            every = [(c.start, r.start, c.stop, r.stop) for r, c in around]
            largest = every[int(np.argmax(sizes))] if every else None
            hits[i, level, 0] = any(of_boxes(largest, box) >= 0.3 for box in own if largest)
            hits[i, level, 1] = any(of_boxes(one, box) >= 0.3 for one in every for box in own)
    found = metrics.max_box_acc(maps, boxes, overlap=0.3, levels=10)
    assert found.curve().tolist() == pytest.approx(hits[..., 0].mean(0).tolist())
    assert found.mean == pytest.approx(hits[..., 0].mean(0).max())
    both = metrics.max_box_acc_v2(maps, boxes, overlaps=(0.3, 0.99), levels=10)
    assert both.curve("0.3").tolist() == pytest.approx(hits[..., 1].mean(0).tolist())
    assert both.mean == pytest.approx(hits[..., 1].mean(0).max() / 2)


def of_boxes(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    pixels = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (one, other)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])
