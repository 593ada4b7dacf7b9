"""Names for the usual layouts: the pattern each stands for, and what that reads."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.reading import bind
from gradcam_hooks.layout.shorthands import PROBE, expand


def patterns_of(asked: str, shape: tuple[int, ...], size: tuple[int, ...]) -> str:
    return expand(asked, shape, InputAxes.read(None, len(size) + 2), size)


@pytest.mark.parametrize(
    ("asked", "shape", "size", "pattern"),
    [
        ("channels-first", (2, 5, 4, 6), (16, 24), "b c h w"),
        ("channels-first", (2, 5, 6), (64,), "b c t"),
        ("channels-last", (2, 4, 6, 5), (16, 24), "b h w c"),
        ("channels-last", (2, 2, 4, 6, 5), (8, 16, 24), "b d h w c"),
        ("tokens", (2, 24, 5), (16, 24), "b (h=4 w=6) c"),
        ("tokens", (2, 197, 5), (224, 224), "b 1+(h=14 w=14) c"),
        ("tokens", (2, 201, 5), (224, 224), "b 5+(h=14 w=14) c"),
        ("tokens", (2, 325, 5), (299, 299), "b 1+(h=18 w=18) c"),  # 299 = 18 x 16 + 11
        ("tokens", (2, 9, 5), (64,), "b t=9 c"),
        ("tokens-channels-first", (2, 5, 25), (16, 24), "b c 1+(h=4 w=6)"),
        ("tokens-sequence-first", (25, 2, 5), (16, 24), "1+(h=4 w=6) b c"),
        ("tokens:2x3", (2, 6, 5), (16, 24), "b (h=2 w=3) c"),
        ("tokens:2x3", (2, 9, 5), (16, 24), "b 3+(h=2 w=3) c"),
        ("tokens:1+2x3", (2, 9, 5), (16, 24), "b 1+(h=2 w=3)+2 c"),
        ("tokens:0+2x3", (2, 9, 5), (16, 24), "b (h=2 w=3)+3 c"),
        ("tokens:1+2x2x3", (2, 13, 5), (8, 16, 24), "b 1+(d=2 h=2 w=3) c"),
        ("tokens:1+7", (2, 8, 5), (64,), "b 1+t=7 c"),
        ("tokens-channels-first:2x3", (2, 5, 7), (16, 24), "b c 1+(h=2 w=3)"),
        ("b h1 w (h2 c)", (2, 4, 6, 5), (16, 24), "b h1 w (h2 c)"),
        ("probe", (2, 4, 6, 5), (16, 24), "probe"),
    ],
)
def test_a_name_stands_for_a_pattern(
    asked: str, shape: tuple[int, ...], size: tuple[int, ...], pattern: str
) -> None:
    assert patterns_of(asked, shape, size) == pattern


def test_the_words_are_the_inputs() -> None:
    clip = InputAxes.read("b t c h w", 5)
    size = (8, 16, 24)
    assert expand("channels-first", (2, 5, 8, 4, 6), clip, size) == "b c t h w"
    assert expand("tokens:2x2x3", (2, 12, 5), clip, size) == "b (t=2 h=2 w=3) c"


def test_who_knows_how_many_stand_ahead_is_heard() -> None:
    image, size = InputAxes.read(None, 4), (32, 32)
    assert expand("tokens", (2, 20, 5), image, size, ahead=4) == "b 4+(h=4 w=4) c"
    assert expand("tokens", (2, 20, 5), image, size, ahead=16) == "b 16+(h=2 w=2) c"
    assert expand("tokens", (2, 9, 5), InputAxes.read(None, 3), (64,), ahead=1) == "b 1+t=8 c"
    with pytest.raises(LayoutError, match=r"20 tokens are no grid .* of 32x32 behind 3 others"):
        expand("tokens", (2, 20, 5), image, size, ahead=3)


@pytest.mark.parametrize(
    ("asked", "shape", "size", "by_hand"),
    [
        ("channels-first", (2, 5, 4, 6), (16, 24), lambda x: x),
        ("channels-last", (2, 4, 6, 5), (16, 24), lambda x: x.permute(0, 3, 1, 2)),
        ("tokens", (2, 25, 5), (16, 24), lambda x: x[:, 1:].mT.reshape(2, 5, 4, 6)),
        ("tokens:1+4x6", (2, 28, 5), (16, 24), lambda x: x[:, 1:25].mT.reshape(2, 5, 4, 6)),
        ("tokens-channels-first", (2, 5, 25), (16, 24), lambda x: x[..., 1:].reshape(2, 5, 4, 6)),
        (
            "tokens-sequence-first",
            (25, 2, 5),
            (16, 24),
            lambda x: x[1:].permute(1, 2, 0).reshape(2, 5, 4, 6),
        ),
        ("tokens:2x2x3", (2, 12, 5), (8, 16, 24), lambda x: x.mT.reshape(2, 5, 2, 2, 3)),
    ],
)
def test_what_a_name_reads_by_hand(
    asked: str,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    by_hand: Callable[[Tensor], Tensor],
) -> None:
    x = torch.arange(math.prod(shape)).reshape(shape)
    inputs = InputAxes.read(None, len(size) + 2)
    layout = bind(expand(asked, shape, inputs, size), shape, inputs, size, 2)
    assert torch.equal(layout.channels_first(x), by_hand(x))


@pytest.mark.parametrize(
    ("asked", "shape", "message"),
    [
        ("channel-first", (2, 5, 4, 6), r"not 'channel-first'\. Did you mean 'channels-first'\?"),
        ("token", (2, 5, 4), r"one of channels-first, .*not 'token'\. Did you mean 'tokens'\?"),
        ("patches:14x14", (2, 196, 4), r"not 'patches:14x14'\.$"),
        ("channels-last:4x6", (2, 4, 6, 5), r"not 'channels-last:4x6'\.$"),
        ("tokens:4by6", (2, 24, 5), r"behind the colon of layout='tokens:4by6' .* along h w, as"),
        ("tokens:24", (2, 24, 5), r"stands the grid of the patches along h w"),
        ("tokens:0x6", (2, 24, 5), r"stands the grid of the patches along h w"),
        ("tokens:5x6", (2, 24, 5), r"is 5 x 6 = 30 tokens, and there are 24"),
        ("tokens:2+4x6", (2, 24, 5), r"is 2 \+ 4 x 6 = 26 tokens, and there are 24"),
        ("tokens", (2, 4, 6, 5), r"is of tokens, with three axes, .* as in layout='b t \(h w\) c'"),
        (
            "tokens",
            (2, 23, 5),
            r"23 tokens are more than one grid .*'tokens:11\+3x4' or 'tokens:3\+4x5'",
        ),
        ("tokens", (2, 900, 5), r"900 tokens are no grid of patches .*layout='tokens:14x14'"),
    ],
)
def test_what_is_no_name_says_what_is(asked: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        patterns_of(asked, shape, (16, 24))


def test_two_grids_are_both_shown() -> None:
    said = r"20 tokens are more than one grid .*'tokens:4\+4x4' or 'tokens:16\+2x2'"
    with pytest.raises(LayoutError, match=said):
        patterns_of("tokens", (2, 20, 5), (32, 32))


def test_the_word_for_the_probe_is_no_layout() -> None:
    assert PROBE == "probe"
    with pytest.raises(LayoutError, match="the batch is missing"):
        bind(PROBE, (2, 5, 4, 6), InputAxes.read(None, 4), (16, 24), 2)
