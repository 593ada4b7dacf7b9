"""What is measured of one map, and the word that comes of it. Knows numbers alone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from gradcam_hooks.results.checked import DOUBT, NO, TRUST, Trust
from gradcam_hooks.results.diagnosis import Diagnosis

__all__ = ["Evidence", "judged"]

SAME = 0.95
"""A correlation from which on two maps are the same to the eye."""

SHAKY, LOST = 0.8, 0.5
"""Correlations below which a map that ought to stay is in doubt, and below which it is lost."""

MARGIN = 0.02
"""A part of the score's fall below which two areas under it are the same."""

FLAT = 0.1
"""A part of the score; where a blur takes less of it, insertion cannot tell maps apart."""


@dataclass(frozen=True)
class Evidence:
    """What is measured of one map; NaN where it could not be asked.

    Attributes:
        head: the least correlation with the map under a head that was drawn anew, of several draws.
        weights: the same where all weights were, of several draws.
        other: the least correlation with the map of another class.
        noise: the least correlation with the map of an image that differs by a hair.
        seed: the correlation with the map of other random numbers.
        fall: how far the score falls where the image is blurred, as a part of it.
        center: by how much insertion of the map beats that of a blob in the centre, in parts of
            that fall.
        reverse: the same for the reverse of the map, its least positions first.
        blur: the same for the map under a blur.
    """

    head: float = math.nan
    weights: float = math.nan
    other: float = math.nan
    noise: float = math.nan
    seed: float = math.nan
    fall: float = math.nan
    center: float = math.nan
    reverse: float = math.nan
    blur: float = math.nan


@dataclass
class _Reasons:
    """Sentences: what speaks against a map, what makes it doubtful, and what speaks for it."""

    against: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)


def judged(found: Evidence, diagnosis: Diagnosis) -> Trust:
    """The word on a map, and its reasons, of what was measured.

    >>> good = Evidence(head=0.1, weights=0.2, other=0.1, noise=0.99, seed=1.0)
    >>> judged(good, Diagnosis("ok"))
    'doubt'
    >>> blind = Evidence(**{**asdict(good), "head": 1.0, "weights": 1.0})
    >>> judged(blind, Diagnosis("ok")).reasons[0]
    'It stays the same where all weights are drawn anew (correlation 1.00).'
    """
    told = _Reasons()
    if diagnosis in ("coarse", "border"):
        told.doubts.append(f"It is {diagnosis}: {diagnosis.message}")
    elif diagnosis != "ok":
        told.against.append(f"It is no answer ({diagnosis}): {diagnosis.message}")
    _hangs_on(found, told)
    _stays(found, told)
    _inserted(found, told)
    word = NO if told.against else DOUBT if told.doubts else TRUST
    return Trust(word, (*told.against, *told.doubts, *told.fine), asdict(found))


def _hangs_on(found: Evidence, told: _Reasons) -> None:
    """The weights and the class."""
    asked = {"all weights are": found.weights, "the head is": found.head}
    same = [value >= SAME for value in asked.values()]
    worst = told.against if all(same) else told.doubts
    for what, value in asked.items():
        number = f"where {what} drawn anew (correlation {value:.2f})."
        if value >= SAME:
            worst.append(f"It stays the same {number}")
        elif not math.isnan(value):
            told.fine.append(f"It changes {number}")
    if found.other >= SAME:
        told.doubts.append(
            f"Other classes have the same map (correlation {found.other:.2f} at the least): it "
            "does not tell why this class and no other."
        )
    elif not math.isnan(found.other):
        told.fine.append(f"Another class has another map (correlation {found.other:.2f}).")
    if math.isnan(found.head):
        told.doubts.append("Whether it hangs on what was learned could not be asked.")


def _stays(found: Evidence, told: _Reasons) -> None:
    """Where nothing but chance or a hair is another."""
    for value, what in ((found.noise, "a hair of noise"), (found.seed, "another seed")):
        number = f"(correlation {value:.2f})."
        if value < LOST:
            told.against.append(f"It turns over with {what} {number}")
        elif value < SHAKY:
            told.doubts.append(f"It moves with {what} {number}")
        elif not math.isnan(value):
            told.fine.append(f"It stays with {what} {number}")


def _inserted(found: Evidence, told: _Reasons) -> None:
    """What insertion says of it, its reverse, a blob and its own blur."""
    if math.isnan(found.fall):
        told.doubts.append("Whether it marks what the score needs could not be asked.")
        return
    if found.fall < FLAT:
        told.doubts.append(
            f"The score falls by {found.fall:.0%} where the image is blurred or plain, so that "
            "insertion cannot tell whether the map marks what it needs."
        )
        return
    if found.reverse < MARGIN:
        told.against.append(
            f"Its least positions bring the score back as well as its highest ones, or sooner "
            f"({found.reverse:+.2f} of the fall)."
        )
    else:
        told.fine.append(
            f"Its highest positions bring the score back sooner than its least ones "
            f"({found.reverse:+.2f} of the fall)."
        )
    for value, what in ((found.center, "a blob in the centre"), (found.blur, "its own blur")):
        number = f"({value:+.2f} of the fall)."
        if value < -MARGIN:
            told.doubts.append(f"By insertion {what} does better than it {number}")
        elif value > MARGIN:
            told.fine.append(f"By insertion it does better than {what} {number}")
        else:
            told.fine.append(f"By insertion it does as well as {what} {number}")
