"""The input's axes: what is usual, what is said, and the way there and back."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.input_axes import InputAxes


@pytest.mark.parametrize(
    ("axes", "shape", "space", "size", "channel"),
    [
        (None, (2, 9), ("t",), (9,), None),
        (None, (2, 3, 9), ("t",), (9,), 1),
        (None, (2, 3, 8, 9), ("h", "w"), (8, 9), 1),
        (None, (2, 3, 7, 8, 9), ("d", "h", "w"), (7, 8, 9), 1),
        ("b t c h w", (2, 7, 3, 8, 9), ("t", "h", "w"), (7, 8, 9), 2),
        ("b h w c", (2, 8, 9, 3), ("h", "w"), (8, 9), 3),
        ("b n c", (2, 9, 3), ("n",), (9,), 2),
        ("n b", (9, 2), ("n",), (9,), None),
        ("b mel time", (2, 8, 9), ("mel", "time"), (8, 9), None),
        ("b 1 h w", (2, 1, 8, 9), ("h", "w"), (8, 9), None),
        ("b (c=3 h=8 w)", (2, 216), ("h", "w"), (8, 9), None),
        ("(b t=7) c h w", (14, 3, 8, 9), ("t", "h", "w"), (7, 8, 9), 1),
    ],
)
def test_words_say_what_is_space(
    axes: str | None,
    shape: tuple[int, ...],
    space: tuple[str, ...],
    size: tuple[int, ...],
    channel: int | None,
) -> None:
    found = InputAxes.read(axes, len(shape))
    assert (found.space, found.size(shape), found.channel_axis) == (space, size, channel)
    assert found.batch(shape) == 2
    assert shape[found.batch_axis] in (2, 14)
    assert axes is None or str(found) == axes


def test_channels_first_and_back_by_hand() -> None:
    x = torch.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5)
    found = InputAxes.read("b t c w", 4).channels_first(x)
    assert found.shape == (2, 3, 4, 5)
    assert all(
        found[b, c, t, w] == x[b, t, c, w]
        for b in range(2)
        for c in range(3)
        for t in range(4)
        for w in range(5)
    )
    flat = InputAxes.read("b (h=2 w c=3)", 2)
    row = torch.arange(12).reshape(1, 12)
    assert flat.channels_first(row).tolist() == [
        [[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]]
    ]
    assert torch.equal(flat.restored(flat.channels_first(row)), row)


@settings(deadline=None)
@given(st.permutations(["b", "c", "h", "w"]), st.booleans())
def test_restored_undoes_channels_first(words: list[str], colours: bool) -> None:
    words = words if colours else [word for word in words if word != "c"]
    sizes = {"b": 2, "c": 3, "h": 4, "w": 5}
    inputs = InputAxes.read(" ".join(words), len(words))
    x = torch.randn([sizes[word] for word in words], dtype=torch.float64)
    found = inputs.channels_first(x)
    assert found.shape == (2, 3 if colours else 1, *(sizes[word] for word in inputs.space))
    assert torch.equal(inputs.restored(found), x)
    mask = inputs.restored(torch.full((1, 1, *found.shape[2:]), 2.0, dtype=torch.float64))
    assert torch.equal(mask * x, 2 * x)  # one for all images and colours


def test_the_usual_order_is_the_tensor_itself() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert InputAxes.read(None, 4).channels_first(x) is x
    assert InputAxes.read(None, 4).restored(x) is x


@pytest.mark.parametrize(
    ("axes", "rank", "at", "message"),
    [
        ("b 1+t", 2, 2, "tokens stand beside space"),
        ("b h1 h2", 3, 2, "'h1' is a factor of 'h'"),
        ("b c", 2, 0, "no word is space"),
        ("c h w", 3, 0, "the batch is missing"),
        ("b c h h", 4, 6, "'h' stands twice"),
    ],
)
def test_an_error_points_at_the_letter_of_axes(axes: str, rank: int, at: int, message: str) -> None:
    said = rf"^axes='{re.escape(axes)}' cannot be read: {message}.*\n    .*\n    {' ' * at}\^\n"
    with pytest.raises(LayoutError, match=said):
        InputAxes.read(axes, rank)


@pytest.mark.parametrize(
    ("axes", "rank", "message"),
    [
        (None, 1, r"the input has 1 axis, for which no reading is usual"),
        (None, 6, r"the input has 6 axes, .* as in axes='b t c h w'"),
        ("b c h w", 3, r"axes='b c h w' names 4 axes, and the input has 3"),
    ],
)
def test_another_number_of_axes_is_refused(axes: str | None, rank: int, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        InputAxes.read(axes, rank)


def test_a_composed_axis_needs_its_sizes() -> None:
    with pytest.raises(LayoutError, match=r"the size of 'h' is open(.|\n)*'h=\.\.\.'"):
        InputAxes.read("b (h w)", 2).size((2, 12))
    with pytest.raises(LayoutError, match=r"axis 1 .* length 12, which h = 5 does not divide"):
        InputAxes.read("b (h=5 w)", 2).size((2, 12))
