"""Gradients in half precision: the score is scaled as a loss is in training, so that none vanishes.

Numbers of float16 end at 6e-8, and the gradient at a map of 256x256 is a 65,536th of the head's
weight. So the score is multiplied by a power of two, which rounds nothing, and the gradient divided
by it once it is float32. Where that is too much for the largest, less is taken. Knows tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["LEAST", "unscaled"]

_SCALES = tuple(2.0**power for power in (15, 11, 7, 3, 0))

LEAST = 2.0**-24 / _SCALES[0]
"""The least gradient that is not lost, after the scaling."""


def unscaled(
    backward: Callable[[float, bool | None], Sequence[Tensor | None]], kinds: Iterable[torch.dtype]
) -> list[Tensor | None]:
    """The gradients of a score, in float32 where any on the way is float16.

    Args:
        backward: told the factor of the score, and whether the graph is to be retained for another
            time (None: as torch would), gives the gradients of the product.
        kinds: of what is on the way.

    >>> x = torch.tensor(1.0, dtype=torch.float16, requires_grad=True)
    >>> y = x / 2**14 / 2**14
    >>> unscaled(lambda factor, keep: torch.autograd.grad(
    ...     y, x, torch.tensor(factor).half(), retain_graph=keep), [x.dtype])[0].item() * 2**28
    1.0
    """
    if torch.float16 not in kinds:
        return list(backward(1.0, None))
    for scale in _SCALES:
        found = backward(scale, True)
        if scale == 1 or all(one is None or bool(one.isfinite().all()) for one in found):
            break
    return [None if one is None else one.float() / scale for one in found]
