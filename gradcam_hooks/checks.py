"""Checks of what is passed: a count, a number in a range, a flag, a word of several.

One wording for all of them: what was expected, and what came. ``name`` is the argument's, or any
words to begin the sentence with, such as ``"Finer(count=)"``. Knows the errors only.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import inf, isfinite
from numbers import Real
from typing import Literal

from gradcam_hooks.errors import GradCamHooksError, OptionError

__all__ = ["check_count", "check_flag", "check_one_of", "check_range", "check_seed"]

Ends = Literal["[]", "[)", "(]", "()"]
"""Whether each end of a range is legal itself, as intervals are written."""

_BOUNDED: dict[Ends, str] = {
    "[]": "from {low:g} to {high:g}",
    "[)": "from {low:g} up to under {high:g}",
    "(]": "above {low:g} and {high:g} at most",
    "()": "between {low:g} and {high:g}",
}
_UNBOUNDED = {ends: "from {low:g} up" if ends[0] == "[" else "above {low:g}" for ends in _BOUNDED}


_SEEDS = 1 << 62
"""Seeds are below it, so that what is counted up from one is within PyTorch's 64 bits."""


def check_count(
    value: object, name: str, *, least: int = 1, error: type[GradCamHooksError] = OptionError
) -> int:
    """A whole number from ``least`` up (Python's, NumPy's or a tensor's) as an int.

    Raises:
        GradCamHooksError: it is none; of the kind ``error``.
    """
    truth = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    try:  # NumPy 1 takes its own truths for numbers, with a warning
        number = least - 1 if truth else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        raise error(f"{_subject(name)} is a whole number from {least} up, not {value!r}.")
    return number


def check_seed(value: object) -> int:
    """A seed, from which others are counted up, as an int.

    Raises:
        OptionError: it is no whole number from 0 up, or more than PyTorch's generators take.
    """
    number = check_count(value, "seed", least=0)
    if number >= _SEEDS:
        raise OptionError(f"seed= is a whole number under {_SEEDS}, not {number}.")
    return number


def check_range(
    value: object,
    name: str,
    low: float,
    high: float = inf,
    *,
    ends: Ends = "(]",
    what: str = "a number",
    error: type[GradCamHooksError] = OptionError,
) -> None:
    """Raise unless the value is a finite number between ``low`` and ``high``.

    Args:
        value: what came.
        name: whose value it is.
        low: the lower end.
        high: the upper end.
        ends: see `Ends`.
        what: what the number is.
        error: the error's kind.

    >>> check_range(1.0, "ratio", 0, 1, ends="[)")
    Traceback (most recent call last):
    gradcam_hooks.errors.OptionError: ratio= is a number from 0 up to under 1, not 1.0.
    """
    if not isinstance(value, bool) and isinstance(value, Real) and isfinite(value):
        number = float(value)
        above = number > low or (ends[0] == "[" and number == low)
        below = number < high or (ends[1] == "]" and number == high)
        if above and below:
            return
    words = (_BOUNDED if high < inf else _UNBOUNDED)[ends].format(low=low, high=high)
    raise error(f"{_subject(name)} is {what} {words}, not {value!r}.")


def check_flag(value: object, name: str, *, error: type[GradCamHooksError] = OptionError) -> None:
    """Raise ``error`` unless the value is True or False."""
    if not isinstance(value, bool):
        raise error(f"{_subject(name)} is True or False, not {value!r}.")


def check_one_of(
    value: object,
    name: str,
    legal: Sequence[object],
    *,
    error: type[GradCamHooksError] = OptionError,
) -> None:
    """Raise ``error`` unless the value is one of ``legal``."""
    if value not in legal:
        words = ", ".join(map(repr, legal))
        raise error(f"{_subject(name)} is one of {words}, not {value!r}.")


def _subject(name: str) -> str:
    return f"{name}=" if name.isidentifier() else name
