"""Batches: inputs through an explainer, as many at once as memory takes.

Inputs of one size go together. Where memory gives out the batch is halved, and stays so; where the
network fails on a batch for another reason its inputs go through one by one, so that the one at
fault takes no other down. Knows tensors and explanations: no picture, no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import GradCamHooksError, InputError, TargetError
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.chunks import out_of_memory
from gradcam_hooks.targets import Target

__all__ = ["Batches", "Explain", "fatal_for"]

Explain = Callable[[Tensor, Sequence[int]], Explanation]
"""Explains inputs ``(batch, ...)``; it is told which of those that were given they are."""


def fatal_for(target: Target) -> Callable[[Exception], bool]:
    """Whether an error is the layer's or the target's, which no other picture will change.

    A region, a box or labels that are on may be in another picture.
    """
    picks = picked_out(target)
    return lambda error: (
        isinstance(error, GradCamHooksError) and not (picks and isinstance(error, TargetError))
    )


def picked_out(target: Target) -> bool:
    """Whether a target seeks out of each output what it explains."""
    return callable(target) or (isinstance(target, str) and target == "on")


class Batches:
    """An explainer fed in batches.

    Args:
        explain: explains the inputs of one batch.
        size: how many go through the network at once.
        fatal: whether an error is the fault of no input, and is to be raised.

    Attributes:
        size: how many go through at once by now: halved where memory gave out.

    Raises:
        InputError: the size is not a whole number from 1 up.
    """

    def __init__(
        self, explain: Explain, size: int, fatal: Callable[[Exception], bool] = lambda error: False
    ) -> None:
        self.size = check_count(size, "the batch size", error=InputError)
        self._explain, self._fatal = explain, fatal

    def __call__(self, inputs: Sequence[Tensor]) -> list[Explanation | Exception]:
        """The explanation of each input, or what the network raised at it alone."""
        found: dict[int, Explanation | Exception] = {}
        for rows in self._alike(inputs):
            found |= zip(rows, self._explained(inputs, rows), strict=True)
        return [found[row] for row in range(len(inputs))]

    @staticmethod
    def _alike(inputs: Sequence[Tensor]) -> list[list[int]]:
        """The inputs by their numbers, those of one shape together."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, one in enumerate(inputs):
            groups.setdefault(tuple(one.shape), []).append(row)
        return list(groups.values())

    def _explained(
        self, inputs: Sequence[Tensor], rows: Sequence[int]
    ) -> Iterator[Explanation | Exception]:
        done = 0
        while done < len(rows):
            part = rows[done : done + self.size]
            found = self._tried(inputs, part)
            if isinstance(found, Explanation):
                yield from found
            elif len(part) == 1:
                yield found
            elif out_of_memory(found):
                self.size = max(1, len(part) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            else:
                for row in part:
                    alone = self._tried(inputs, [row])
                    yield alone[0] if isinstance(alone, Explanation) else alone
            done += len(part)

    def _tried(self, inputs: Sequence[Tensor], rows: Sequence[int]) -> Explanation | Exception:
        try:
            return self._explain(torch.stack([inputs[row] for row in rows]), rows)
        except Exception as error:  # the network is the user's code
            if self._fatal(error):
                raise
            return error.with_traceback(None)  # its frames would keep the batch's memory
