"""Scores of a class that stand beside its logit: what the other classes say goes into them.

Frozen callables from logits ``(batch, classes)`` to one score per image: the probability, its
logarithm, ReST and Finer. Each is of the predicted class unless one is named. Knows tensors only:
no layer, no map.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_flag, check_range
from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import described, find_logits
from gradcam_hooks.targets.checks import labelled, legal, number, numbered

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Finer", "LogProbability", "Probability", "ReST"]

Label = int | str | Sequence[int | str] | Tensor | np.ndarray | None
"""A class for all images, or one for each; None for the predicted class of each."""

Others = Sequence[int | str] | Sequence[Sequence[int | str]] | None

_Given: TypeAlias = "int | str | tuple[_Given, ...] | None"
"""What the fields hold once they are checked."""


@dataclass(frozen=True)
class _OfOneClass(ABC):
    """A score of one class of each image; what it takes of the others is its subclass's matter."""

    label: Label = None

    def __post_init__(self) -> None:
        label = self.label
        if isinstance(label, Tensor | np.ndarray):
            label = label.tolist()
        if label is None or isinstance(label, int | str):
            object.__setattr__(self, "label", None if label is None else numbered(label, "a class"))
        else:
            object.__setattr__(self, "label", _each(label))

    def __repr__(self) -> str:
        said = [] if self.label is None else [repr(self.label)]
        options = {name: getattr(self, name) for name in vars(self) if name != "label"}
        said += [f"{k}={v!r}" for k, v in options.items() if v != getattr(type(self), k)]
        return f"{type(self).__name__}({', '.join(said)})"

    def labelled(self, labels: Sequence[str] | None) -> Self:
        """The same with numbers in the place of labels."""
        return replace(self, label=cast(Label, _numbers(cast(_Given, self.label), labels)))

    def settled(self, output: object) -> Self:
        """The same of the class that is explained in ``output``."""
        return replace(self, label=tuple(self.classes_of(output).tolist()))

    def classes_of(self, output: object) -> Tensor:
        """The class explained of each image, LongTensor ``(batch,)``."""
        logits = self._logits(output).detach()
        batch, classes = logits.shape
        if self.label is None:
            return logits.argmax(1)
        given = self.label if isinstance(self.label, tuple) else (self.label,)
        numbers = [number(one) for one in given]
        if len(numbers) not in (1, batch):
            raise TargetError(f"{len(numbers)} classes came for a batch of {batch}; one, or each.")
        legal(max(numbers), classes)
        return torch.tensor(numbers, device=logits.device).expand(batch)

    def _logits(self, output: object) -> Tensor:
        logits = find_logits(output)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise OutputError(
                f"{self} compares classes, so it needs logits of shape (batch, classes) of two "
                f"classes or more, but the output is {described(logits)}. Pass output= to choose "
                "another part; of one logit explain Binary()."
            )
        return logits

    @abstractmethod
    def _score(self, logits: Tensor, index: Tensor) -> Tensor:
        """``(batch, classes)`` and the classes' numbers ``(batch,)`` to ``(batch,)``."""

    def __call__(self, output: object) -> Tensor:
        """``(batch, classes)`` to ``(batch,)``."""
        return self._score(self._logits(output), self.classes_of(output))


@dataclass(frozen=True, repr=False)
class Probability(_OfOneClass):
    """The softmax probability of a class: ``p_c = exp(y_c) / sum_i exp(y_i)``.

    Its gradient is ``p_c (e_c - p)``, which vanishes where the network is sure; the logarithm's
    does so more slowly, the logit's not at all. grad-cam's ``ClassifierOutputSoftmaxTarget`` is
    the same of a class that must be named.

    Args:
        label: a class's number or label, or one for each image; None for the predicted class.

    Raises:
        TargetError: the class is none of this output's.
        OutputError: the output is not ``(batch, classes)`` of two classes or more.

    >>> Probability(0)(torch.tensor([[math.log(3.0), 0.0]]))
    tensor([0.7500])
    """

    def _score(self, logits: Tensor, index: Tensor) -> Tensor:
        return _at(logits.softmax(1), index)


@dataclass(frozen=True, repr=False)
class LogProbability(_OfOneClass):
    """The logarithm of the softmax probability of a class: ``y_c - log sum_i exp(y_i)``.

    Its gradient is ``e_c - p``: what speaks for the class less what speaks for all of them.

    Args:
        label: a class's number or label, or one for each image; None for the predicted class.

    Raises:
        TargetError, OutputError: as `Probability`.

    >>> LogProbability(0)(torch.tensor([[0.0, 0.0]]))  # -log 2
    tensor([-0.6931])
    """

    def _score(self, logits: Tensor, index: Tensor) -> Tensor:
        return _at(logits.log_softmax(1), index)


@dataclass(frozen=True, repr=False)
class ReST(_OfOneClass):
    """The residual softmax target of a class: ``y_c + log p_c``, its logit and log-probability.

    Its gradient is ``e_c + (e_c - p)``: it compares the class with the others as the probability
    does, and does not vanish where the network is sure (Cai 2025, "CAMs as Shapley Value-based
    Explainers", arXiv 2501.06261, where ShapleyCAM explains it). grad-cam's
    ``ClassifierOutputReST``, the logit less the cross entropy, is the same of a class that must
    be named.

    Args:
        label: a class's number or label, or one for each image; None for the predicted class.

    Raises:
        TargetError, OutputError: as `Probability`.

    >>> ReST(0)(torch.tensor([[0.0, 0.0]]))  # 0 - log 2
    tensor([-0.6931])
    """

    def _score(self, logits: Tensor, index: Tensor) -> Tensor:
        return _at(logits, index) + _at(logits.log_softmax(1), index)


@dataclass(frozen=True, repr=False)
class Finer(_OfOneClass):
    """What tells a class from those most like it: Finer-CAM's target.

    ``sum_i p_i (y_c - alpha y_i) / sum_i p_i`` over the ``count`` classes most similar to ``c``,
    ``p`` the softmax probabilities (Zhang et al. 2025, "Finer-CAM: Spotting the Difference Reveals
    Finer Details for Visual Explanation", arXiv 2501.11309; their ``gamma`` is ``alpha``). Most
    similar are the classes, ``c`` left out, whose logits are nearest to ``y_c``, above or below it,
    the lower number first where two are as near. The weights ``p`` are constants: the gradient is
    ``e_c`` less ``alpha`` times the weighted mean of ``e_i``, so the map is the weighted mean of
    the maps of the differences.

    The ``FinerWeightedTarget`` of the authors' code and of grad-cam has the same value (but for
    1e-9 in its denominator) and differentiates the weights as well: ``constant=False``. Their
    ``FinerCAM`` takes as ``c`` the first of the sorted logits, which may be another class where two
    are equal.

    Args:
        label: a class's number or label, or one for each image; None for the predicted class.
        others: the classes to compare with, for all images, or a sequence of such for each; None
            for the most similar.
        count: how many of the most similar (fewer where there are not as many classes).
        alpha: how much of the others is taken away; 0 leaves the logit.
        constant: whether the weights ``p`` are constants.

    Raises:
        TargetError: a class is none of this output's or compared with itself, or an argument is
            not legal.
        OutputError: as `Probability`.

    >>> Finer(0, count=1)(torch.tensor([[3.0, 2.5, 1.0]]))  # 3 - 2.5
    tensor([0.5000])
    """

    others: Others = None
    count: int = 3
    alpha: float = 1.0
    constant: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.count, "Finer(count=)", error=TargetError)
        check_range(self.alpha, "Finer(alpha=)", 0, ends="[)", error=TargetError)
        check_flag(self.constant, "Finer(constant=)", error=TargetError)
        others = self.others
        if others is None:
            return
        if isinstance(others, str) or not isinstance(others, Sequence) or not others:
            raise TargetError(f"Finer(others=) is a sequence of classes, not {others!r}.")
        if isinstance(others[0], str) or not isinstance(others[0], Sequence):
            known: object = _each(others)
        else:
            known = tuple(_each(one) for one in others)
            if len({len(one) for one in others if isinstance(one, Sequence)}) != 1:
                raise TargetError(
                    "Finer(others=) has as many classes for one image as for another."
                )
        object.__setattr__(self, "others", known)

    def labelled(self, labels: Sequence[str] | None) -> Self:
        """The same with numbers in the place of labels."""
        known = super().labelled(labels)
        others = _numbers(cast(_Given, self.others), labels)
        return replace(known, others=cast(Others, others))

    def settled(self, output: object) -> Self:
        """The same classes compared as in ``output``."""
        known = super().settled(output)
        others = self._others(self._logits(output).detach(), self.classes_of(output))
        return replace(known, others=tuple(tuple(row) for row in others.tolist()))

    def _others(self, logits: Tensor, index: Tensor) -> Tensor:
        """The classes compared with, LongTensor ``(batch, count)``."""
        batch, classes = logits.shape
        if self.others is None:
            far = (logits - _at(logits, index)[:, None]).abs()
            far = far.scatter(1, index[:, None], math.inf)
            return far.argsort(dim=1, stable=True)[:, : min(self.count, classes - 1)]
        given = _numbers(cast(_Given, self.others), None)
        numbers = torch.tensor(given, device=logits.device)
        legal(int(numbers.max()), classes)
        if numbers.ndim == 2 and len(numbers) not in (1, batch):
            raise TargetError(f"classes to compare with came for {len(numbers)} images of {batch}.")
        numbers = numbers.expand(batch, -1)
        if bool((numbers == index[:, None]).any()):
            raise TargetError(f"{self} compares a class with itself; leave it out of others=.")
        return numbers

    def _score(self, logits: Tensor, index: Tensor) -> Tensor:
        others = self._others(logits.detach(), index)
        rivals = logits.gather(1, others)
        # p_i / sum p_i is the softmax over the rivals alone, which cannot be 0 / 0.
        weights = (rivals.detach() if self.constant else rivals).softmax(1)
        return _at(logits, index) - self.alpha * (weights * rivals).sum(1)


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[:, None])[:, 0]


def _each(given: object) -> tuple[int | str, ...]:
    if not isinstance(given, Sequence) or not given:
        raise TargetError(f"classes are a number, a label or a sequence of these, not {given!r}.")
    return tuple(numbered(one, "a class") for one in given)


def _numbers(given: _Given, labels: Sequence[str] | None) -> _Given:
    """The numbers of labels, wherever they stand."""
    if isinstance(given, str):
        return labelled(given, labels)
    return tuple(_numbers(one, labels) for one in given) if isinstance(given, tuple) else given
