"""States of metrics: fed batch by batch, merged across processes, told at the end.

A thin class around the functions, as torchmetrics has them. What is kept is a number for each
sample and its curve, so that what is merged is what one call would have found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradcam_hooks.errors import InputError, OptionError
from gradcam_hooks.metrics.measured import Measured, joined
from gradcam_hooks.metrics.registry import METRICS, Metric, metric_of

__all__ = ["State"]


class State:
    """A metric with its settings, and what it found so far.

    Args:
        metric: its name, or its function.
        settings: its settings by keyword.

    Raises:
        OptionError: there is no such metric or setting.

    >>> import torch
    >>> state, other = State("sparseness"), State("sparseness")
    >>> _ = state.update(torch.eye(2)[None]), other.update(torch.ones(1, 2, 2))
    >>> state.merge(other).compute().values
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """

    def __init__(self, metric: str | Callable[..., object], **settings: object) -> None:
        row = metric_of(metric)
        unknown = [name for name in settings if name not in row.settings]
        if unknown:
            there = ", ".join(row.settings) or "none"
            raise OptionError(
                f"{row.name} has no setting {unknown[0]!r}; its settings are {there}."
            )
        self.metric = row.name
        self.settings = settings
        self.parts: list[Measured] = []

    @property
    def row(self) -> Metric:
        """The metric's card."""
        return METRICS[self.metric]

    @property
    def higher_is_better(self) -> bool:
        """The direction in which maps are better."""
        return self.parts[0].higher_is_better if self.parts else self.row.higher_is_better

    def update(self, *given: object, **more: object) -> Measured:
        """Measure some samples; returns what was found for these alone."""
        found = self.row.function(*given, **{**self.settings, **more})
        self.parts.append(found)
        return found

    def merge(self, *others: State) -> State:
        """Take over what others of the same metric and settings found, behind what is here.

        Raises:
            InputError: another metric, or other settings.
        """
        for other in others:
            if other.metric != self.metric or repr(other.settings) != repr(self.settings):
                raise InputError(
                    f"a state of {other.metric} {other.settings} cannot be merged into one of "
                    f"{self.metric} {self.settings}."
                )
            self.parts.extend(other.parts)
        return self

    def compute(self) -> Measured:
        """What one call on all samples would have found.

        Raises:
            InputError: nothing was measured yet.
        """
        found = joined(self.parts)
        pooled = self.row.pooled
        return found if pooled is None else replace(found, values=pooled(found.curves))

    def reset(self) -> None:
        """Forget what was found."""
        self.parts.clear()

    def __repr__(self) -> str:
        words = ", ".join([repr(self.metric), *(f"{k}={v!r}" for k, v in self.settings.items())])
        return f"State({words}) of {sum(len(one.values) for one in self.parts)} samples"
