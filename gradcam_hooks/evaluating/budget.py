"""What can be afforded: how many pictures and steps a budget of seconds or passes is good for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from gradcam_hooks.checks import check_range
from gradcam_hooks.errors import OptionError

__all__ = [
    "LEAST",
    "MANY",
    "STEPS",
    "Budget",
    "BudgetSpec",
    "Cost",
    "Plan",
    "budget_of",
    "parts",
    "planned",
]

STEPS = (32, 16, 8)
"""Steps of insertion and deletion, the finest first; ROAD's shares go with them."""

LEAST = 6
"""Pictures at least: of fewer no test can show anything (1/32 of the ways to flip their signs)."""

MANY = 24
"""Pictures that count for more than finer steps."""

BudgetSpec: TypeAlias = "str | float | None"
"""Seconds, as a number or ``"5m"``; passes, as ``"2000 passes"``; None for all pictures."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What may be spent; infinite where nothing was said.

    Attributes:
        amount: seconds, or forward passes of one picture.
        unit: ``"seconds"`` or ``"passes"``.
    """

    amount: float = math.inf
    unit: str = "seconds"


@dataclass(frozen=True)
class Cost:
    """What a picture costs, in the budget's unit: ``fixed``, and by steps of insertion."""

    fixed: float
    of_steps: dict[int, float]

    def of(self, steps: int) -> float:
        """A picture with so many steps."""
        return self.fixed + self.of_steps[steps]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        numbers: of the pictures, rising.
        steps: of insertion and deletion.
        fill: what insertion begins with.
        text: how it was chosen, in words.
    """

    numbers: tuple[int, ...]
    steps: int
    fill: str
    text: str


def budget_of(given: BudgetSpec) -> Budget:
    """The budget of a word or a number.

    Raises:
        OptionError: it is neither seconds nor passes.

    >>> budget_of("5m").amount, budget_of("2000 passes").unit, budget_of(None).amount
    (300.0, 'passes', inf)
    """
    if given is None:
        return Budget()
    if isinstance(given, str):
        found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", given.lower())
        word = found[2] if found else "?"
        if found and (word in _UNITS or word in ("pass", "passes")):
            try:
                amount = float(found[1])
            except ValueError:
                amount = 0.0
            if 0 < amount < math.inf:
                return Budget(amount * _UNITS.get(word, 1.0), _unit(word))
        raise OptionError(
            f"budget= is a time such as '90s', '5m' or '1h', or '2000 passes', not {given!r}."
        )
    check_range(given, "budget", 0, what="seconds, a number")
    return Budget(float(given))


def _unit(word: str) -> str:
    return "passes" if word.startswith("pass") else "seconds"


def planned(budget: Budget, spent: float, cost: Cost, count: int, fill: str, seed: int) -> Plan:
    """The pictures and steps that what is left of a budget is good for.

    As many pictures as there are, or 24, go before finer steps. Of more than can be afforded they
    are drawn by chance, since files are sorted.

    Args:
        budget: what may be spent.
        spent: what was spent for finding out what a picture costs.
        cost: that.
        count: how many pictures there are.
        fill: what insertion begins with.
        seed: for drawing.
    """
    if budget.amount == math.inf:
        text = f"All {count:,} pictures, with {STEPS[0]} steps."
        return Plan(tuple(range(count)), STEPS[0], fill, text)
    left = max(0.0, budget.amount - spent)
    afford = {steps: int(left / max(cost.of(steps), 1e-12)) for steps in STEPS}
    steps = next((one for one in STEPS if afford[one] >= min(count, MANY)), STEPS[-1])
    least = min(count, LEAST)
    several = min(count, max(least, afford[steps]))
    whole = _told(cost.of(steps) * several + spent, budget.unit)
    text = (
        f"{several:,} of {count:,} pictures with {steps} steps, which the budget of "
        f"{_told(budget.amount, budget.unit)} is good for (about {whole})."
    )
    if afford[steps] < least:
        text = (
            f"The budget of {_told(budget.amount, budget.unit)} is too small for {least} pictures, "
            f"the fewest that can show anything: {several} of {count:,} with {steps} steps take "
            f"about {whole}."
        )
    return Plan(_drawn(count, several, seed), steps, fill, text)


def _drawn(count: int, several: int, seed: int) -> tuple[int, ...]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return tuple(sorted(order[:several].tolist()))


def _told(amount: float, unit: str) -> str:
    """An amount in words.

    >>> _told(300, "seconds"), _told(45.2, "seconds"), _told(2000, "passes")
    ('5 min', '45 s', '2,000 passes')
    """
    if unit == "passes":
        return f"{round(amount):,} passes"
    return f"{amount / 60:.3g} min" if amount >= 90 else f"{amount:.0f} s"


def parts(numbers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The pictures in parts, each measured and kept as a whole."""
    return [tuple(numbers[start : start + size]) for start in range(0, len(numbers), size)]
