"""Laws of layouts, for any pattern: it reads by its factors, is undone, and its text is itself."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.pattern import Axis, Factor, Pattern
from gradcam_hooks.layout.reading import Layout, bind
from tests.support.numbered import indices, numbered


def flat(axis: Axis, index: dict[str, int]) -> int:
    """Where an axis is entered for the index of each of its factors."""
    at = 0
    for factor in axis.factors:
        at = at * (factor.size or 1) + index[factor.name]
    return at + sum(axis.ahead)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Pattern, InputAxes, str]:
    """A pattern with all sizes, the input's axes, and which words are channels."""
    space = draw(st.permutations(["d", "h", "w"]))[: draw(st.integers(1, 3))]
    channels = draw(st.permutations(["c", "f"]))
    factors = [Factor("b", 0, draw(st.integers(1, 2)))]
    for word in [*space, *channels]:
        count = draw(st.integers(0, 2))
        numbers = [0] if count == 1 else range(1, count + 1)
        factors += [
            Factor(word, number, draw(st.integers(1, 3 - count // 2))) for number in numbers
        ]
    axes: list[list[Factor]] = [[]]
    for factor in draw(st.permutations(factors)):
        if draw(st.booleans()):
            axes.append([])
        axes[-1].append(factor)
    found = [Axis(tuple(axis)) for axis in axes]
    free = [n for n, axis in enumerate(axes) if axis and all(one.word in space for one in axis)]
    if free:
        counts = st.lists(st.integers(1, 2), max_size=2)
        at = draw(st.sampled_from(free))
        found[at] = Axis(found[at].factors, tuple(draw(counts)), tuple(draw(counts)))
    inputs = InputAxes.read("b " + " ".join(space), 1 + len(space))
    return Pattern(tuple(found)), inputs, " ".join(channels)


def bound(pattern: Pattern, inputs: InputAxes, channels: str) -> tuple[tuple[int, ...], Layout]:
    """The shape that a pattern says, and its layout."""
    shape = tuple(
        math.prod(one.size or 1 for one in axis.factors) + axis.others for axis in pattern.axes
    )
    batch = pattern.of_word("b")[0].size or 1
    size = tuple(6 for _ in inputs.space)
    return shape, bind(str(pattern), shape, inputs, size, batch, channels=channels)


@settings(deadline=None)
@given(layouts())
def test_every_layout_reads_by_its_factors_and_is_undone(
    made: tuple[Pattern, InputAxes, str],
) -> None:
    pattern, inputs, channels = made
    shape, layout = bound(pattern, inputs, channels)
    batch = pattern.of_word("b")[0].size or 1
    assert layout.batch(shape) == batch
    size = tuple(6 for _ in inputs.space)
    assert bind(str(layout), shape, inputs, size, batch, channels=channels) == layout
    x = numbered(shape)
    found = layout.channels_first(x)
    assert torch.equal(layout.put(found, x), x)
    groups = [["b"], channels.split(), *([word] for word in inputs.space)]
    for place in indices(tuple(one.size or 1 for one in pattern.factors)):
        index = dict(zip([one.name for one in pattern.factors], place, strict=True))
        own = tuple(flat(axis, index) for axis in pattern.axes)
        out = [Axis(tuple(f for word in group for f in pattern.of_word(word))) for group in groups]
        assert found[tuple(flat(axis, index) for axis in out)] == x[own]
    if layout.is_view:
        found.zero_()
        assert x.count_nonzero() == x.numel() - found.numel()


@settings(deadline=None)
@given(layouts(), st.integers(1, 3))
def test_variants_of_one_image_keep_its_other_tokens(
    made: tuple[Pattern, InputAxes, str], count: int
) -> None:
    pattern, inputs, channels = made
    shape, layout = bound(pattern, inputs, channels)
    one = layout.of_one(numbered(shape), layout.batch(shape) - 1)
    values = -numbered((count, layout.channels, *layout.space))
    put = layout.put(values, one)
    assert torch.equal(layout.channels_first(put), values)
    for variant in range(count):
        mine = layout.of_one(put, variant)
        assert torch.equal(mine, layout.put(values[variant : variant + 1], one))
        assert torch.equal(mine[mine > 0], layout.put(torch.zeros_like(values[:1]), one)[mine > 0])
