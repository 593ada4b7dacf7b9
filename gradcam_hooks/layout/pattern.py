"""The one language of axes, einops' notation: from text to data.

    pattern = axis { " " axis }
    axis    = "1"  |  { count "+" } group { "+" count }
    group   = factor  |  "(" factor { " " factor } ")"
    factor  = word [ number ] [ "=" size ]

``b`` is the batch; what the other words are, the input decides (`input_axes`, `reading`). An axis
in parentheses is composed of its factors, the outermost first. ``h1`` and ``h2`` are factors of
``h``, ``h1`` the outer one. Counts are tokens ahead of space and behind it. ``1`` alone is an axis
of length one. Errors point at the letter. Knows no tensor and no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from gradcam_hooks.errors import LayoutError

__all__ = ["BATCH", "Axis", "Factor", "Pattern", "parse"]

BATCH = "b"
"""The word for the batch."""

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[()+=]")
_WORD = re.compile(r"([A-Za-z]+(?:_[A-Za-z]+)*)([1-9]\d*)?")
_EXAMPLES = "'b c h w', 'b h w c', 'b 1+(h w) c' or '(b t) c h=7 w=7'"


@dataclass(frozen=True)
class Factor:
    """One word of an axis.

    Attributes:
        word: what it is, ``"h"`` for ``h2``.
        number: which factor of its word, from the outermost; 0 where it is the whole.
        size: its length, where it was said.
        at: where in the text it stands.
    """

    word: str
    number: int = 0
    size: int | None = None
    at: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """Its word with its number."""
        return f"{self.word}{self.number or ''}"

    def __str__(self) -> str:
        return self.name if self.size is None else f"{self.name}={self.size}"


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    Attributes:
        factors: what it is composed of, the outermost first; none for an axis of length one.
        ahead: the counts of tokens ahead of them.
        behind: the counts of tokens behind them.
        at: where in the text it begins.
    """

    factors: tuple[Factor, ...]
    ahead: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    at: int = field(default=0, compare=False)

    @property
    def others(self) -> int:
        """How many tokens stand ahead and behind."""
        return sum(self.ahead) + sum(self.behind)

    def __str__(self) -> str:
        group = " ".join(map(str, self.factors)) or "1"
        group = f"({group})" if len(self.factors) > 1 else group
        return "+".join([*map(str, self.ahead), group, *map(str, self.behind)])


@dataclass(frozen=True)
class Pattern:
    """The axes of a tensor, in words; two are equal where they say the same.

    Attributes:
        axes: one for each axis of the tensor.
        text: what was written.
        argument: which argument it was written for.
    """

    axes: tuple[Axis, ...]
    text: str = field(default="", compare=False)
    argument: str = field(default="layout", compare=False)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All factors, from left to right."""
        return tuple(factor for axis in self.axes for factor in axis.factors)

    @property
    def batch_axis(self) -> int:
        """Which axis the batch stands in."""
        return next(
            number
            for number, axis in enumerate(self.axes)
            if any(factor.word == BATCH for factor in axis.factors)
        )

    def of_word(self, word: str) -> tuple[Factor, ...]:
        """The factors of a word, the outermost first; none where it does not occur."""
        found = [factor for factor in self.factors if factor.word == word]
        return tuple(sorted(found, key=lambda factor: factor.number))

    def sized(self, sizes: Mapping[str, int]) -> Pattern:
        """The same pattern, with these sizes said and no others.

        >>> str(parse("b=2 (h w) c").sized({"h": 7, "w": 5, "c": 64}))
        'b (h=7 w=5) c=64'
        """
        axes = [
            replace(
                axis,
                factors=tuple(replace(one, size=sizes.get(one.name)) for one in axis.factors),
            )
            for axis in self.axes
        ]
        return replace(self, axes=tuple(axes))

    def moves(self, groups: Sequence[Sequence[Factor]]) -> tuple[str, str]:
        """Both sides of an einops expression: this order of factors, and that of ``groups``.

        Args:
            groups: for each axis of the other side the factors it is composed of.

        >>> pattern = parse("b (h w) c")
        >>> pattern.moves([pattern.of_word(word) for word in "bcthw"])
        ('x0 (x1 x2) x3', 'x0 x3 1 x1 x2')
        """
        # Words are the user's: one named "tensor" would meet einops' own argument.
        names = {factor.name: f"x{number}" for number, factor in enumerate(self.factors)}

        def side(axes: Sequence[Sequence[Factor]]) -> str:
            each = [" ".join(names[factor.name] for factor in axis) or "1" for axis in axes]
            return " ".join(f"({one})" if " " in one else one for one in each)

        return side([axis.factors for axis in self.axes]), side(groups)

    def error(self, at: int, problem: str, step: str) -> LayoutError:
        """An error that points at a letter of the text."""
        return _error(self.text, self.argument, at, problem, step)

    def __str__(self) -> str:
        return " ".join(map(str, self.axes))


@lru_cache(256)
def parse(text: str, argument: str = "layout") -> Pattern:
    """The pattern that a text says.

    Args:
        text: the axes, in einops' notation.
        argument: which argument it was written for; errors name it.

    Raises:
        LayoutError: the text breaks the grammar, has a word twice, or no batch.

    >>> parse("(b h1 w1) (h2 w2) c").of_word("h")[1]
    Factor(word='h', number=2, size=None, at=11)
    >>> parse("b 1+4+(h=14 w=14) c").axes[1].ahead
    (1, 4)
    """
    if not isinstance(text, str):
        raise LayoutError(f"{argument}= is text such as {_EXAMPLES}, not {text!r}.")
    pattern = _Reader(re.sub(r"\s", " ", text), argument).pattern()
    _check_words(pattern)
    _check_axes(pattern)
    return pattern


class _Reader:
    """Reads a text from left to right, one token at a time."""

    def __init__(self, text: str, argument: str) -> None:
        self._text, self._argument = text, argument
        self._tokens: list[tuple[str, int]] = []
        self._next = 0
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is not None:
                self._tokens.append((found[0], at))
            elif text[at] != " ":
                raise self._error(
                    at,
                    f"{text[at]!r} means nothing here",
                    f"A pattern is made of words, numbers, '(', ')', '+' and '=': {_EXAMPLES}.",
                )
            at = at + 1 if found is None else found.end()

    def pattern(self) -> Pattern:
        """All axes."""
        if not self._tokens:
            raise self._error(
                0, "there is no axis", f"Name each axis of the tensor, as in {_EXAMPLES}."
            )
        axes: list[Axis] = []
        while self._next < len(self._tokens):
            at = self._at
            if self._token == ")":
                raise self._error(at, "')' closes nothing", "Write '(' ahead of its first word.")
            if axes and self._text[at - 1] != " ":
                raise self._error(at, "a space is missing", "Axes stand apart, as in 'b c h w'.")
            axes.append(self._axis())
        return Pattern(tuple(axes), self._text, self._argument)

    def _axis(self) -> Axis:
        at = self._at
        terms: list[int | tuple[Factor, ...]] = [self._term()]
        while self._token == "+":
            self._next += 1
            terms.append(self._term())
        groups = [number for number, term in enumerate(terms) if not isinstance(term, int)]
        if terms == [1]:
            return Axis((), at=at)
        if len(groups) != 1:
            problem = "two terms are words" if groups else "a number alone is no axis"
            raise self._error(
                at,
                problem,
                "Numbers are tokens beside space, as in '1+(h w)' or 't+100'; an axis of length "
                "one is '1'.",
            )
        (group,) = groups
        counts = [term if isinstance(term, int) else 0 for term in terms]
        factors = terms[group]
        assert not isinstance(factors, int)  # it is a group
        return Axis(factors, tuple(counts[:group]), tuple(counts[group + 1 :]), at)

    def _term(self) -> int | tuple[Factor, ...]:
        token, at = self._token, self._at
        if token is not None and token.isdigit():
            return self._number("a count of tokens")
        if token == "(":
            return self._group()
        if token is not None and token not in ")+=":
            return (self._factor(),)
        what = "the text ends" if token is None else f"{token!r} stands where an axis begins"
        raise self._error(
            at, what, "A word, a number or '(' is expected, as in 'b 1+(h w) c' or 'b c h=7 w=7'."
        )

    def _group(self) -> tuple[Factor, ...]:
        opened = self._at
        self._next += 1
        factors = []
        while self._token != ")":
            token, at = self._token, self._at
            if token is None:
                raise self._error(opened, "'(' is never closed", "Write ')' behind its last word.")
            if token == "(":
                raise self._error(
                    at,
                    "parentheses stand in parentheses",
                    "One axis is a flat list of factors, as in '(b h1 w1)'.",
                )
            if token.isdigit() or token in "+=":
                raise self._error(
                    at,
                    f"{token!r} stands within parentheses",
                    "Words alone are factors; tokens ahead stand outside: '1+(h w)'.",
                )
            factors.append(self._factor())
        if not factors:
            raise self._error(
                opened, "nothing is in the parentheses", "An axis of length one is '1'."
            )
        self._next += 1
        return tuple(factors)

    def _factor(self) -> Factor:
        token, at = self._tokens[self._next]
        self._next += 1
        found = _WORD.fullmatch(token)
        if found is None:
            raise self._error(
                at,
                f"{token!r} is no word",
                "A word is letters, with a number from 1 up behind it for a factor: 'h', 'h1'.",
            )
        size = None
        if self._token == "=":
            self._next += 1
            size = self._number("a size")
        return Factor(found[1], int(found[2] or 0), size, at)

    def _number(self, what: str) -> int:
        token, at = self._token, self._at
        if token is None or not token.isdigit() or int(token) < 1:
            came = "the text ends" if token is None else f"{token!r} stands"
            raise self._error(
                at, f"{came} where {what} is expected", "It is a whole number from 1 up."
            )
        self._next += 1
        return int(token)

    @property
    def _token(self) -> str | None:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else None

    @property
    def _at(self) -> int:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else len(self._text)

    def _error(self, at: int, problem: str, step: str) -> LayoutError:
        return _error(self._text, self._argument, at, problem, step)


def _check_words(pattern: Pattern) -> None:
    """Each factor once, a word whole or in all its factors, and the batch."""
    seen: set[str] = set()
    for one in pattern.factors:
        if one.name in seen:
            raise pattern.error(
                one.at,
                f"{one.name!r} stands twice",
                "Each word is one axis; factors of one are numbered: "
                f"'{one.word}1', '{one.word}2'.",
            )
        seen.add(one.name)
    for one in pattern.factors:
        word = one.word
        numbers = [each.number for each in pattern.of_word(word)]
        if numbers == [0]:
            continue
        if word == BATCH:
            raise pattern.error(one.at, "the batch has no factors", "Write 'b', once.")
        if 0 in numbers:
            raise pattern.error(
                one.at,
                f"{word!r} stands whole and as a factor of itself",
                f"Write {word!r} alone, or all its factors: '{word}1', '{word}2'.",
            )
        lack = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
        if len(numbers) == 1 or lack <= len(numbers):
            raise pattern.error(
                one.at,
                f"there is {one.name!r} and no '{word}{lack}'",
                f"Number the factors from 1 up, the outermost first; one alone is {word!r}.",
            )
    if BATCH not in seen:
        capital = next((one for one in pattern.factors if one.word == BATCH.upper()), None)
        raise pattern.error(
            capital.at if capital else 0,
            "the batch is missing",
            "It is called 'b', a small letter, as in 'b c h w'.",
        )


def _check_axes(pattern: Pattern) -> None:
    """One axis of tokens at most has others beside them, and these stand beside no batch."""
    beside = [axis for axis in pattern.axes if axis.others]
    if len(beside) > 1:
        raise pattern.error(
            beside[1].at,
            "a second axis has tokens beside space",
            "One axis at most has tokens ahead or behind: 'b 1+(h w) c'.",
        )
    for one in (factor for axis in beside for factor in axis.factors if factor.word == BATCH):
        raise pattern.error(
            one.at,
            "tokens stand beside the batch",
            "They stand beside words of space: 'b 1+(h w) c'.",
        )


def _error(text: str, argument: str, at: int, problem: str, step: str) -> LayoutError:
    return LayoutError(
        f"{argument}={text!r} cannot be read: {problem}.\n    {text}\n    {' ' * at}^\n{step}"
    )
