"""What a check of maps says: a word on each, with the reasons; and what is needed to check one.

An explanation carries how it is made again, `Again`, and holds its network weakly. The check itself
runs networks and metrics, which lie above this room: `gradcam_hooks.trust` hands it in when it is
imported, as `gradcam_hooks` does with its first name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import ReferenceType

from torch import nn

from gradcam_hooks.errors import InputError
from gradcam_hooks.network.inputs import Inputs

__all__ = ["DOUBT", "NO", "TRUST", "Again", "Check", "Trust", "Trusts", "checked", "checker"]

TRUST, DOUBT, NO = WORDS = ("trust", "doubt", "do not trust")
"""The words, the best first."""


class Trust(str):
    """A word on one map, ``"trust"``, ``"doubt"`` or ``"do not trust"``, with its reasons.

    Attributes:
        reasons: sentences with numbers, what speaks against the map first.
        numbers: what was measured, by name; see `gradcam_hooks.trust.Evidence`.
    """

    __slots__ = ("numbers", "reasons")
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]

    def __new__(
        cls, word: str, reasons: Sequence[str] = (), numbers: Mapping[str, float] | None = None
    ) -> Trust:
        """The word, the reasons and the numbers behind it."""
        self = super().__new__(cls, word)
        self.reasons, self.numbers = tuple(reasons), dict(numbers or {})
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Trust, (str(self), self.reasons, self.numbers)

    @property
    def message(self) -> str:
        """The reasons in one line."""
        return " ".join(self.reasons)


Trusts: TypeAlias = "tuple[Trust, ...] | tuple[tuple[Trust, ...], ...]"


class _Shown(Protocol):
    def _repr_html_(self) -> str: ...


_Explained = TypeVar("_Explained", bound=_Shown)


@dataclass(frozen=True, eq=False, repr=False)
class Check(Generic[_Explained]):
    """What `Explanation.check` found.

    Attributes:
        words: a word per map, a tuple over the batch (of tuples over the targets).
        explanation: the same explanation with these words in its captions, facts and records.
    """

    words: Trusts
    explanation: _Explained

    def _each(self) -> list[Trust]:
        rows = [[one] if isinstance(one, Trust) else list(one) for one in self.words]
        return [word for row in rows for word in row]

    @property
    def word(self) -> Trust:
        """The word on the one map; of several maps the worst."""
        return max(self._each(), key=WORDS.index)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of `word`."""
        return self.word.reasons

    def __str__(self) -> str:
        words = self._each()
        if len(words) == 1:
            return f"{words[0]}: {words[0].message}"
        return "\n".join(f"map {i}: {one}: {one.message}" for i, one in enumerate(words))

    def __repr__(self) -> str:
        return f"Check({str(self)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the explanation, with the word beside each map."""
        return self.explanation._repr_html_()


@dataclass(frozen=True, eq=False, repr=False)
class Again:
    """How an explanation is made again, with another model of the kind, image or target.

    Attributes:
        model: the network, held weakly.
        explainer: makes the explainer of a model, at the same layers, by the same method.
        inputs: what went in.
        target: what was asked.
        output: which part of the model's output is meant.
        rows: which images of the batch the explanation is of; None for all.
    """

    model: ReferenceType[nn.Module]
    explainer: Callable[..., Callable[..., Any]]
    inputs: Inputs
    target: Any
    output: Any = None
    rows: tuple[int, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return no_again, ()  # a network is not copied along with its explanation

    def of(self, rows: Sequence[int]) -> Again:
        """The same of some of the images that it is of."""
        own = range(self.inputs.batch) if self.rows is None else self.rows
        return replace(self, rows=tuple(own[row] for row in rows))


def no_again() -> None:
    """What is left of an `Again` where an explanation is copied or read back."""
    return


_CHECKS: list[Callable[..., Trusts]] = []


def checker(check: Callable[..., Trusts]) -> Callable[..., Trusts]:
    """Hand in what checks an explanation; a decorator."""
    _CHECKS[:] = [check]
    return check


def checked(explanation: object, **options: object) -> Trusts:
    """The words on an explanation, by what was handed in.

    Raises:
        InputError: the explanation cannot be made again, or nothing was handed in.
    """
    if not _CHECKS:
        raise InputError("nothing is there to check with: import gradcam_hooks.trust.")
    return _CHECKS[0](explanation, **options)
