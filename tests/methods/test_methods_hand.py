"""Each rule on numbers worked out by hand, and against its paper's equation in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

import gradcam_hooks as gh
from gradcam_hooks.methods.gradient import gradcam_plus_plus
from gradcam_hooks.methods.statistics import fem_share

# Two channels of 2x2; they add up to 10 and 8.
ACTIVATION = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [1.0, 2.0]]]])
GRADIENT = torch.tensor([[[[2.0, 0.0], [0.0, -1.0]], [[-4.0, 1.0], [0.0, 3.0]]]])
BY_HAND = {
    # weights (2 + 0 + 0 - 1) / 4 = 1/4 and (-4 + 1 + 0 + 3) / 4 = 0
    "gradcam": [[0.25, 0.5], [0.75, 1.0]],
    # weights 2/4 and (1 + 3)/4
    "gradcam+": [[0.5 + 5, 1 + 0], [1.5 + 1, 2 + 2]],
    # g / (2 + g sum): 2/22 = 1/11, and 1/10 + 3/26 = 14/65
    "gradcam++": [
        [1 / 11 + 5 * 14 / 65, 2 / 11],
        [3 / 11 + 14 / 65, 4 / 11 + 2 * 14 / 65],
    ],
    # weights (2*1 - 1*4) / 10 = -0.2 and (-4*5 + 3*2) / 8 = -1.75
    "xgradcam": [[-0.2 - 8.75, -0.4], [-0.6 - 1.75, -0.8 - 3.5]],
    # 2*1 - 4*5, 0*2 + 1*0, 0*3 + 0*1, -1*4 + 3*2
    "hirescam": [[-18.0, 0.0], [0.0, 2.0]],
    "elementwise": [[2.0, 0.0], [0.0, 6.0]],
    "layercam": [[2.0, 0.0], [0.0, 6.0]],
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    got = gh.METHODS[name].rule(ACTIVATION, GRADIENT)
    assert torch.allclose(got, torch.tensor([BY_HAND[name]]), atol=1e-6)


def test_gradcam_plus_plus_with_alpha_of_sum_one() -> None:
    # alpha: 1/22 alone becomes 1, so the weight is 2; 1/10 and 1/26 become 13/18 and 5/18, so the
    # weight is 1 * 13/18 + 3 * 5/18 = 28/18
    got = gradcam_plus_plus(ACTIVATION, GRADIENT, normalize=True)
    expected = 2 * ACTIVATION[:, 0] + 28 / 18 * ACTIVATION[:, 1]
    assert torch.allclose(got, expected, atol=1e-6)


def test_gradcam_plus_plus_where_alpha_has_no_value() -> None:
    # sum -4, so that at g = 0.5 the denominator 2 - 4 * 0.5 is 0; at g = 1 alpha is 1 / (2 - 4)
    activation = torch.tensor([[[-5.0, 1.0, 0.0]]])
    gradient = torch.tensor([[[0.5, 1.0, 0.0]]])
    assert gradcam_plus_plus(activation, gradient).tolist() == [[2.5, -0.5, 0.0]]


def test_gradcam_plus_plus_of_gradients_whose_square_is_zero() -> None:
    # 1e-30 squared is 0 in float32; alpha is 1/2 all the same
    got = gradcam_plus_plus(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1e-30, 0.0]]]))
    assert torch.allclose(got * 1e30, torch.tensor([[0.5, 1.0]]))


def test_where_activations_are_negative_layercam_and_elementwise_part() -> None:
    activation = torch.tensor([[[[-2.0, 1.0], [3.0, -1.0]]]])
    gradient = torch.tensor([[[[1.0, 1.0], [-1.0, -2.0]]]])
    # products -2, 1, -3, 2; relu(g) is 1, 1, 0, 0
    assert gh.METHODS["elementwise"].rule(activation, gradient).tolist() == [[[0, 1], [0, 2]]]
    assert gh.METHODS["layercam"].rule(activation, gradient).tolist() == [[[-2, 1], [0, 0]]]


def test_xgradcam_of_a_channel_whose_sum_is_rounding() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in float64, and not a sum to divide by
    activation = torch.tensor([[[0.1, 0.2, -0.3]]], dtype=torch.float64)
    gradient = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    assert gh.METHODS["xgradcam"].rule(activation, gradient).tolist() == [[0, 0, 0]]


ONES = torch.ones(1, 2, 2, 2)


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        # Channels at right angles: the singular values are 3 and 2, the first is channel 1 alone.
        ("eigencam", [[[3, 0], [0, 0]], [[0, 2], [0, 0]]], [[3, 0], [0, 0]]),
        # [[2, 1], [1, 2]] has the eigenvalues 3 and 1; 3 belongs to (1, 1) / sqrt 2.
        ("eigencam", [[[2, 1], [0, 0]], [[1, 2], [0, 0]]], [[4.5**0.5, 4.5**0.5], [0, 0]]),
        # The weights (1, 0) add up to 1 and (-1, 0) do not: the map is negative...
        ("eigencam", [[[-3, 0], [0, 0]], [[0, 2], [0, 0]]], [[-3, 0], [0, 0]]),
        ("eigengradcam", [[[-3, 0], [0, 0]], [[0, 2], [0, 0]]], [[-3, 0], [0, 0]]),
        # ... but by the rule of Seg-Eigen-CAM the value of largest size is positive.
        ("segeigencam", [[[-3, 0], [0, 0]], [[0, 2], [0, 0]]], [[3, 0], [0, 0]]),
        # Weights (1, -1) / sqrt 2 cancel: then too the value of largest size is positive.
        ("eigencam", [[[-3, 1], [0, 0]], [[3, -1], [0, 0]]], [[18**0.5, -(2**0.5)], [0, 0]]),
        ("eigencam", [[[3, -1], [0, 0]], [[-3, 1], [0, 0]]], [[18**0.5, -(2**0.5)], [0, 0]]),
        # Two values of largest size: the first.
        ("eigencam", [[[0, -1], [1, 0]], [[0, 1], [-1, 0]]], [[0, 2**0.5], [-(2**0.5), 0]]),
        ("segeigencam", [[[0, -1], [1, 0]], [[0, -1], [1, 0]]], [[0, 2**0.5], [-(2**0.5), 0]]),
    ],
)
def test_singular_vectors_by_hand(name: str, channels: object, expected: object) -> None:
    activation = torch.tensor([channels], dtype=torch.float32)
    got = gh.METHODS[name].rule(activation, ONES)
    assert torch.allclose(got, torch.tensor([expected], dtype=torch.float32), atol=1e-5)


def test_singular_vector_of_more_channels_than_positions() -> None:
    # [[2, 1], [1, 2]] again, and two channels of zeros
    activation = torch.tensor([[[2.0, 1], [1, 2], [0, 0], [0, 0]]])
    got = gh.METHODS["eigencam"].rule(activation, torch.zeros_like(activation))
    assert torch.allclose(got, torch.tensor([[4.5**0.5, 4.5**0.5]]), atol=1e-5)


def test_singular_vectors_take_the_gradient_s_size_or_its_sign() -> None:
    # One channel: the vector is the channel itself, at its own size, and not less its mean.
    activation = torch.tensor([[[3.0, 1.0]]])
    gradient = torch.tensor([[[1.0, -2.0]]])
    assert gh.METHODS["eigencam"].rule(activation, gradient).tolist() == [[3, 1]]
    assert gh.METHODS["eigengradcam"].rule(activation, gradient).tolist() == [[3, -2]]
    assert gh.METHODS["segeigencam"].rule(activation, gradient).tolist() == [[3, 2]]


def test_fem_by_hand() -> None:
    activation = torch.tensor(
        [[[[9.0, 0, 0], [0, 0, 0], [0, 0, 0]], [[1.0, 0, 0], [0, 18, 0], [0, 0, 8]]]]
    )
    # Channel 1: mean 1, variance (64 + 8 * 1) / 9 = 8, threshold 1 + 2 * 2.83 = 6.66: its 9.
    # Channel 2: mean 3, variance 389/9 - 9 = 34.2, threshold 3 + 2 * 5.85 = 14.7: its 18, not 8.
    got = gh.METHODS["fem"].rule(activation, activation)
    assert got.tolist() == [[[1, 0, 0], [0, 3, 0], [0, 0, 0]]]
    # One of nine positions in each: both channels, whole, weigh 1/9.
    share = fem_share(activation, activation) * 9
    assert torch.allclose(share, torch.tensor([[[10.0, 0, 0], [0, 18, 0], [0, 0, 8]]]))


def test_fem_needs_more_than_five_positions_and_a_spread() -> None:
    # One of P positions lies sqrt(P - 1) deviations above the mean: 2 for five.
    rule = gh.METHODS["fem"].rule
    spike = torch.tensor([[[7.0, 0, 0, 0, 0]]])
    assert rule(spike, spike).tolist() == [[0, 0, 0, 0, 0]]
    spike = torch.tensor([[[6.0, 0, 0, 0, 0, 0]]])
    assert rule(spike, spike).tolist() == [[1, 0, 0, 0, 0, 0]]
    # The mean of nine times 0.1 is not 0.1 to the last digit.
    constant = torch.full((1, 1, 9), 0.1)
    assert rule(constant, constant).tolist() == [[0] * 9]


# --- the papers' equations, in loops over Python's own floats


Grid = dict[tuple[int, ...], float]
Reference = Callable[[list[Grid], list[Grid]], Grid]


def weighted(weigh: Callable[[Grid, Grid], float]) -> Reference:
    """``sum_k w_k A_k`` of a channel's weight."""

    def reference(activation: list[Grid], gradient: list[Grid]) -> Grid:
        total = dict.fromkeys(activation[0], 0.0)
        for a, g in zip(activation, gradient, strict=True):
            weight = weigh(a, g)
            for at in a:
                total[at] += weight * a[at]
        return total

    return reference


def positions(value: Callable[[float, float], float]) -> Reference:
    """A sum over channels of what stands at each position."""

    def reference(activation: list[Grid], gradient: list[Grid]) -> Grid:
        return {
            at: sum(value(a[at], g[at]) for a, g in zip(activation, gradient, strict=True))
            for at in activation[0]
        }

    return reference


def mean(grid: Grid) -> float:
    return sum(grid.values()) / len(grid)


def plus_plus(a: Grid, g: Grid) -> float:
    """Equations 5 and 19, squares and cubes as they stand there."""
    weight = 0.0
    for at in g:
        denominator = 2 * g[at] ** 2 + sum(a.values()) * g[at] ** 3
        alpha = g[at] ** 2 / denominator if denominator != 0 else 0.0
        weight += alpha * max(g[at], 0.0)
    return weight


def threshold(grid: Grid) -> float:
    variance = sum((value - mean(grid)) ** 2 for value in grid.values()) / len(grid)
    return mean(grid) + 2 * math.sqrt(variance)


def masks(activation: list[Grid], gradient: list[Grid]) -> Grid:
    return {at: sum(mean(a) for a in activation if a[at] > threshold(a)) for at in activation[0]}


def singular(value: Callable[[float, float], float], *, by_peak: bool = False) -> Reference:
    """Channel weights by squaring the Gram matrix until only its first eigenvector is left."""

    def reference(activation: list[Grid], gradient: list[Grid]) -> Grid:
        spots = list(activation[0])
        rows = [
            [value(a[at], g[at]) for at in spots] for a, g in zip(activation, gradient, strict=True)
        ]
        count = range(len(rows))
        gram = [
            [sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) for j in count]
            for i in count
        ]
        for _ in range(40):
            gram = [[sum(gram[i][m] * gram[m][j] for m in count) for j in count] for i in count]
            trace = sum(gram[i][i] for i in count)
            gram = [[entry / trace for entry in row] for row in gram]
        column = max(count, key=lambda j: gram[j][j])
        length = math.sqrt(sum(gram[i][column] ** 2 for i in count))
        weights = [gram[i][column] / length for i in count]
        line = [sum(weights[i] * rows[i][p] for i in count) for p in range(len(spots))]
        wrong = max(line, key=abs) < 0 if by_peak else sum(weights) < 0
        return {at: -x if wrong else x for at, x in zip(spots, line, strict=True)}

    return reference


def kernel_component(activation: list[Grid], gradient: list[Grid]) -> Grid:
    """``sqrt(lambda) v`` of the centred sigmoid kernel, the matrix squared as in `singular`."""
    spots, channels = list(activation[0]), len(activation)
    points = [[a[at] - mean(a) for a in activation] for at in spots]
    count = range(len(spots))

    def kernel(i: int, j: int) -> float:
        dot = sum(x * y for x, y in zip(points[i], points[j], strict=True))
        return math.tanh(dot / channels + 1)

    raw = [[kernel(i, j) for j in count] for i in count]
    rows, whole = [sum(row) / len(row) for row in raw], sum(map(sum, raw)) / len(spots) ** 2
    own = [[raw[i][j] - rows[i] - rows[j] + whole for j in count] for i in count]
    # Moved up, so that the largest eigenvalue is the one of largest size too.
    up = max(sum(map(abs, row)) for row in own)
    power = [[own[i][j] + up * (i == j) for j in count] for i in count]
    for _ in range(24):
        power = [[sum(power[i][m] * power[m][j] for m in count) for j in count] for i in count]
        trace = sum(power[i][i] for i in count)
        power = [[entry / trace for entry in row] for row in power]
    column = max(count, key=lambda j: power[j][j])
    length = math.sqrt(sum(power[i][column] ** 2 for i in count))
    vector = [power[i][column] / length for i in count]
    value = sum(vector[i] * own[i][j] * vector[j] for i in count for j in count)
    sign = math.copysign(math.sqrt(value), max(vector, key=abs))
    return {at: sign * x for at, x in zip(spots, vector, strict=True)}


REFERENCES: dict[str, Reference] = {
    "gradcam": weighted(lambda a, g: mean(g)),
    "gradcam++": weighted(plus_plus),
    "refinecam": weighted(plus_plus),  # of one layer
    "gradcam+": weighted(lambda a, g: sum(max(x, 0.0) for x in g.values()) / len(g)),
    "xgradcam": weighted(lambda a, g: sum(g[at] * a[at] / sum(a.values()) for at in a)),
    "hirescam": positions(lambda a, g: g * a),
    "elementwise": positions(lambda a, g: max(g * a, 0.0)),
    "layercam": positions(lambda a, g: max(g, 0.0) * a),
    "eigencam": singular(lambda a, g: a),
    "eigengradcam": singular(lambda a, g: g * a),
    "segeigencam": singular(lambda a, g: abs(g) * a, by_peak=True),
    "fem": masks,
    "kpcacam": kernel_component,
}


def grids(tensor: Tensor) -> list[Grid]:
    """One dictionary from position to value for each channel."""
    return [
        {at: float(channel[at]) for at in product(*map(range, channel.shape))} for channel in tensor
    ]


def test_every_rule_has_its_equation_in_loops() -> None:
    rules = {name: method.rule for name, method in gh.METHODS.items() if method.rule is not None}
    assert set(rules) == set(REFERENCES)


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("space", [(12,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", REFERENCES)
def test_equals_its_equation_in_loops(name: str, space: tuple[int, ...], channels: int) -> None:
    generator = torch.Generator().manual_seed(sum(space))
    shape = (2, channels, *space)
    # Cubed, so that some values are rare enough for FEM.
    activation = torch.randn(shape, dtype=torch.float64, generator=generator) ** 3
    gradient = torch.randn(shape, dtype=torch.float64, generator=generator)
    gradient[gradient.abs() < 0.2] = 0
    got = gh.METHODS[name].rule(activation, gradient)
    assert got.shape == (2, *space)
    assert got.dtype == torch.float64
    for image in range(2):
        expected = REFERENCES[name](grids(activation[image]), grids(gradient[image]))
        assert any(expected.values())
        for at, value in expected.items():
            assert float(got[image][at]) == pytest.approx(value, rel=1e-8, abs=1e-8)
