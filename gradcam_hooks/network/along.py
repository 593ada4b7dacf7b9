"""Which axis of each part of a structure carries the images of a batch, and how to take some.

An axis is found by what becomes of it when another number of images goes in (`grown`), for a
length that happens to agree with the batch says little: there may be as many texts as images.
Knows tensors and containers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gradcam_hooks.network.tree import Path, children, rebuilt, walk

__all__ = ["Along", "Belonging", "by_length", "grown", "pairs", "taken"]

Along = Mapping[Path, int]
"""The axis of images of each part that has one, by the way to it; 0 for a list of one for each."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Belonging:
    """What belongs to each image of a batch.

    Attributes:
        inputs: of the inputs beside the image, by the way from ``(args, kwargs)``.
        output: of what the model returns.
        chosen: of the part of it that is explained.
    """

    inputs: Along
    output: Along
    chosen: Along


def by_length(value: object, length: int) -> dict[Path, int]:
    """The first axis of every tensor that is so long, and every list of dicts.

    What is left where nothing else is known.

    >>> by_length({"logits": torch.zeros(2, 5), "scale": torch.zeros(1)}, 2)
    {('logits',): 0}
    """
    found: dict[Path, int] = {}
    for path, part in walk(value):
        if isinstance(part, Tensor):
            fits = part.ndim > 0 and part.size(0) == length
        else:
            fits = isinstance(part, list) and len(part) == length and _dicts(part)
        if fits:
            found[path] = 0
    return found


def _dicts(parts: Sequence[object]) -> bool:
    return all(isinstance(one, Mapping) for one in parts)


def taken(value: _T, along: Along, rows: Sequence[int]) -> _T:
    """The same structure with these of the images, in this order; the rest as it is.

    Views where the rows are a range or one again and again.

    >>> taken([torch.tensor([[1, 2], [3, 4]]), ["a", "b"]], {(0,): 1, (1,): 0}, [1, 1, 1])
    [tensor([[2, 2, 2],
            [4, 4, 4]]), ['b', 'b', 'b']]
    """

    def change(path: Path, part: object) -> object:
        axis = along.get(path)
        if axis is None:
            return part
        if isinstance(part, Tensor):
            return _rows(part, axis, rows)
        every = [one for _, one in children(part)]
        some = [every[row] for row in rows]
        return tuple(some) if isinstance(part, tuple) else some

    return rebuilt(value, change, strict=False)


def _rows(tensor: Tensor, axis: int, rows: Sequence[int]) -> Tensor:
    if tensor.is_nested:
        every = tensor.unbind()
        return torch.nested.as_nested_tensor([every[row] for row in rows], layout=tensor.layout)
    first, count = rows[0], len(rows)
    if all(row == first for row in rows):
        sizes = [-1] * tensor.ndim
        sizes[axis] = count
        return tensor.narrow(axis, first, 1).expand(sizes)
    if list(rows) == list(range(first, first + count)):
        return tensor.narrow(axis, first, count)
    return tensor.index_select(axis, torch.tensor(list(rows), device=tensor.device))


def pairs(before: object, after: object, path: Path = ()) -> Iterator[tuple[Path, object, object]]:
    """The parts of two structures that stand at the same way, and are no containers of the same.

    Lists of different lengths are a pair themselves.
    """
    one, other = dict(children(before)), dict(children(after))
    if not one or one.keys() != other.keys():
        yield path, before, after
        return
    for key, part in one.items():
        yield from pairs(part, other[key], (*path, key))


def grown(before: object, after: object, lengths: tuple[int, int]) -> int | None:
    """The axis along which two parts differ in length as the numbers of images do.

    Args:
        before: a part of what came of one number of images; a tensor or a list.
        after: the same part of what came of another number.
        lengths: the two numbers, unlike.

    Returns:
        The axis, 0 for lists; None where they differ in nothing, or in anything else.

    >>> grown(torch.zeros(4, 2, 7), torch.zeros(4, 3, 7), (2, 3))
    1
    """
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        if before.ndim != after.ndim or before.is_nested or after.is_nested:
            return None
        sizes = enumerate(zip(before.shape, after.shape, strict=True))
        unlike = [(axis, both) for axis, both in sizes if both[0] != both[1]]
        return unlike[0][0] if len(unlike) == 1 and unlike[0][1] == lengths else None
    listed = isinstance(before, list | tuple) and isinstance(after, list | tuple)
    return 0 if listed and (len(before), len(after)) == lengths else None  # type: ignore[arg-type]
