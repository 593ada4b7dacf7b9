"""The language of axes: what a text says, and where an error points."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.pattern import Axis, Factor, Pattern, parse

B, C, H, W = (Axis((Factor(word),)) for word in "bchw")
GRID = (Factor("h"), Factor("w"))


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("b c h w", [B, C, H, W]),
        ("  b   c h\tw ", [B, C, H, W]),
        ("b h w", [B, H, W]),
        ("b (h w) c", [B, Axis(GRID), C]),
        ("b 1+(h w) c", [B, Axis(GRID, (1,)), C]),
        ("b 1+4+(h w)+2 c", [B, Axis(GRID, (1, 4), (2,)), C]),
        ("b 1 + 4 + (h w) + 2 c", [B, Axis(GRID, (1, 4), (2,)), C]),
        ("b t+100 c", [B, Axis((Factor("t"),), (), (100,)), C]),
        ("b 1+t", [B, Axis((Factor("t"),), (1,))]),
        ("b c 1 h=7", [B, C, Axis(()), Axis((Factor("h", 0, 7),))]),
        ("b (h=14 w = 14)", [B, Axis((Factor("h", 0, 14), Factor("w", 0, 14)))]),
        (
            "(b h1 w1) (h2 w2=7) c",
            [
                Axis((Factor("b"), Factor("h", 1), Factor("w", 1))),
                Axis((Factor("h", 2), Factor("w", 2, 7))),
                C,
            ],
        ),
        ("b (time_steps) c", [B, Axis((Factor("time_steps"),)), C]),
        ("b tensor pattern", [B, Axis((Factor("tensor"),)), Axis((Factor("pattern"),))]),
    ],
)
def test_a_text_says_its_axes(text: str, axes: list[Axis]) -> None:
    assert parse(text).axes == tuple(axes)


@pytest.mark.parametrize(
    ("text", "at", "problem", "step"),
    [
        ("", 0, "there is no axis", "Name each axis"),
        ("   ", 0, "there is no axis", "Name each axis"),
        ("c h w", 0, "the batch is missing", "It is called 'b'"),
        ("C B H W", 2, "the batch is missing", "a small letter"),
        ("b h h w", 4, "'h' stands twice", "Each word is one axis"),
        ("b b c", 2, "'b' stands twice", "Each word is one axis"),
        ("b (h1 w) h1 h2", 9, "'h1' stands twice", "Each word is one axis"),
        ("b (h w c", 2, "'(' is never closed", "Write ')'"),
        ("b c h) w", 5, "')' closes nothing", "Write '('"),
        ("b c (h (w x))", 7, "parentheses stand in parentheses", "a flat list"),
        ("b c ()", 4, "nothing is in the parentheses", "An axis of length one is '1'"),
        ("b (1+h w) c", 3, "'1' stands within parentheses", "stand outside: '1+(h w)'"),
        ("b (h + w) c", 5, "'+' stands within parentheses", "Words alone are factors"),
        ("b (h w)c", 7, "a space is missing", "Axes stand apart"),
        ("b 2 c", 2, "a number alone is no axis", "an axis of length one is '1'"),
        ("b 1+4 c", 2, "a number alone is no axis", "tokens beside space"),
        ("b h+w c", 2, "two terms are words", "tokens beside space"),
        ("b +h c", 0, "two terms are words", "tokens beside space"),
        ("b c +", 5, "the text ends", "A word, a number or '('"),
        ("b 1+=h", 4, "'=' stands where an axis begins", "A word, a number or '('"),
        ("b 0+h c", 2, "'0' stands where a count of tokens is expected", "from 1 up"),
        ("b c h=", 6, "the text ends where a size is expected", "from 1 up"),
        ("b c h=0", 6, "'0' stands where a size is expected", "from 1 up"),
        ("b c h=w", 6, "'w' stands where a size is expected", "from 1 up"),
        ("b c h% w", 5, "'%' means nothing here", "A pattern is made of words"),
        ("b ... h w", 2, "'.' means nothing here", "A pattern is made of words"),
        ("b c é", 4, "'é' means nothing here", "A pattern is made of words"),
        ("b c h1x", 4, "'h1x' is no word", "A word is letters"),
        ("b c h01 h2", 4, "'h01' is no word", "A word is letters"),
        ("b c h_", 4, "'h_' is no word", "A word is letters"),
        ("b c _", 4, "'_' is no word", "A word is letters"),
        ("b c h2 w", 4, "there is 'h2' and no 'h1'", "Number the factors"),
        ("b c h1 w", 4, "there is 'h1' and no 'h2'", "one alone is 'h'"),
        ("b c (h1 h3) w", 5, "there is 'h1' and no 'h2'", "Number the factors"),
        ("b h c h1", 2, "'h' stands whole and as a factor of itself", "all its factors"),
        ("b1 b2 c", 0, "the batch has no factors", "Write 'b', once"),
        ("1+b c", 2, "tokens stand beside the batch", "beside words of space"),
        ("b 1+h w+1", 6, "a second axis has tokens", "One axis at most"),
    ],
)
def test_an_error_points_at_the_letter(text: str, at: int, problem: str, step: str) -> None:
    shown = rf"^layout='{re.escape(text)}' cannot be read: {re.escape(problem)}.*\.\n"
    caret = rf"    {re.escape(text)}\n    {' ' * at}\^\n.*{re.escape(step)}"
    with pytest.raises(LayoutError, match=shown + caret):
        parse(text)


def test_what_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(LayoutError, match=r"axes= is text such as 'b c h w'.*, not 7"):
        parse(7, "axes")


def test_an_error_names_the_argument() -> None:
    with pytest.raises(LayoutError, match=r"^axes='b c c' cannot be read"):
        parse("b c c", "axes")


def test_patterns_are_equal_where_they_say_the_same() -> None:
    assert parse("b   (h w) c") == parse("b (h w) c")
    assert parse("b (h w) c") != parse("b (w h) c")
    assert parse("b (h w) c") != parse("b 1+(h w) c")
    assert parse("b (h=2 w) c") != parse("b (h w) c")


def test_factors_of_a_word_go_from_the_outermost_in() -> None:
    pattern = parse("b (h2 w2) c (h1 w1)")
    assert [one.name for one in pattern.of_word("h")] == ["h1", "h2"]
    assert pattern.of_word("t") == ()
    assert parse("c (t b)").batch_axis == 1


def test_sizes_are_said_and_taken_away() -> None:
    pattern = parse("b=2 1+(h=3 w) c")
    assert str(pattern.sized({"h": 4, "c": 8})) == "b 1+(h=4 w) c=8"
    assert str(pattern) == "b=2 1+(h=3 w) c"


def test_moves_are_einops_expressions_without_the_users_words() -> None:
    pattern = parse("(b h1 tensor) (h2 w) 1")
    groups = [pattern.of_word(word) for word in ("b", "c", "h", "w", "tensor")]
    assert pattern.moves(groups) == ("(x0 x1 x2) (x3 x4) 1", "x0 1 (x1 x3) x4 x2")


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """Any legal pattern."""
    size = st.one_of(st.none(), st.integers(1, 300))
    factors = [Factor("b", 0, draw(size))]
    for word in ("c", "d", "h", "w", "time", "x_y"):
        count = draw(st.integers(0, 3))
        numbers = [0] if count == 1 else range(1, count + 1)
        factors += [Factor(word, number, draw(size)) for number in numbers]
    axes: list[list[Factor]] = [[]]
    for factor in draw(st.permutations(factors)):
        if draw(st.booleans()):
            axes.append([])
        axes[-1].append(factor)
    found = [Axis(tuple(axis)) for axis in axes]
    free = [n for n, axis in enumerate(axes) if axis and all(one.word != "b" for one in axis)]
    if draw(st.booleans()) and free:
        counts = st.lists(st.integers(1, 30), max_size=3)
        at = draw(st.sampled_from(free))
        found[at] = Axis(found[at].factors, tuple(draw(counts)), tuple(draw(counts)))
    return Pattern(tuple(found))


@settings(deadline=None)
@given(patterns())
def test_what_a_pattern_says_is_read_as_itself(pattern: Pattern) -> None:
    assert parse(str(pattern)) == pattern


@settings(deadline=None)
@given(st.text(alphabet="bchw12 ()+=", max_size=14))
def test_any_text_is_a_pattern_or_an_error_with_its_place(text: str) -> None:
    try:
        pattern = parse(text)
    except LayoutError as error:
        first, shown, caret, step = str(error).split("\n")
        assert shown == f"    {text}"
        assert caret.index("^") - 4 <= len(text)
        assert first.endswith(".")
        assert step.endswith(".")
    else:
        assert parse(str(pattern)) == pattern
