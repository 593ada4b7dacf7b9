"""The values of tensors kept and put back, whichever way they were written to.

A pass may write to a buffer in place, through ``.data`` or NumPy, which no version tells, give it
another shape or other memory, or draw it into a graph. So there are copies; they are small next to
weights, and one for all of a kind takes a fraction of the time that one for each does.

Knows tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Buffers"]


_AT_HAND = "cpu"
"""The kind of device of which a question waits for nothing."""


class _Found(NamedTuple):
    """A buffer, and the same memory in the shape in which it was found."""

    buffer: Tensor
    memory: Tensor
    requires_grad: bool
    place: int | None
    """Where its values lie; None of what has no one place."""
    flat: Tensor
    """The same memory in a row, as long as it is contiguous."""

    @property
    def moved(self) -> bool:
        now, was = self.buffer, self.memory
        if self.place is not None:  # another type or device would lie elsewhere
            same = now.data_ptr() == self.place and now.shape == was.shape
            return not same or now.stride() != was.stride() or now.dtype != was.dtype
        return now.shape != was.shape or now.dtype != was.dtype or now.device != was.device


class Buffers:
    """The buffers as they are now, to be put back.

    Args:
        buffers: one may come several times.
        others: tensors that modules hold without having said so; those that are no plain values in
            memory are left to themselves.
    """

    def __init__(self, buffers: Iterable[Tensor], others: Iterable[Tensor] = ()) -> None:
        found = [*buffers, *filter(_plain, others)]
        different = {id(one): one for one in found if one.device.type != "meta"}.values()
        self._found = [_found(one) for one in different]
        kinds: dict[tuple[torch.dtype, torch.device], list[_Found]] = {}
        self._odd = []
        for one in self._found:
            memory = one.memory
            if one.place is not None:
                kinds.setdefault((memory.dtype, memory.device), []).append(one)
            else:
                self._odd.append((memory, memory.clone()))
        self._kinds = [(members, _joined(members)) for members in kinds.values()]
        self._written = set[int]()

    def put_back(self) -> set[int]:
        """Every buffer in its shape and memory, with its values, out of any graph.

        Returns:
            Those that were not, by their ``id``.
        """
        with torch.no_grad():
            for one in self._found:
                if one.moved:
                    self._written.add(id(one.buffer))
                    one.buffer.data = one.memory
                if one.buffer.requires_grad != one.requires_grad:
                    self._written.add(id(one.buffer))
                    one.buffer.detach_().requires_grad_(one.requires_grad)
            for members, copies in self._different():
                parts = torch.split(copies, [one.memory.numel() for one in members])
                for one, copy in zip(members, parts, strict=True):
                    if not _equal(one.memory.reshape(-1), copy):
                        self._written.add(id(one.buffer))
                        values = copy.view(one.memory.shape)
                        once = _once(one.memory)
                        once.copy_(values[tuple(map(slice, once.shape))])
            for memory, copy in self._odd:
                memory.copy_(copy)
        return self._written

    def _different(self) -> list[tuple[list[_Found], Tensor]]:
        """The kinds of which a value is not as it was; a device is asked once for all of its."""
        waiting: dict[torch.device, list[Tensor]] = {}
        found = list[bool | None]()
        for members, copies in self._kinds:
            here, device = _joined(members), copies.device
            at_hand = device.type == _AT_HAND
            found.append(not _equal(here, copies) if at_hand else None)
            if not at_hand:
                waiting.setdefault(device, []).append((_bytes(here) != _bytes(copies)).any())
        told = {device: iter(torch.stack(several).tolist()) for device, several in waiting.items()}
        pairs = zip(self._kinds, found, strict=True)
        return [kind for kind, one in pairs if (next(told[kind[1].device]) if one is None else one)]


def _found(buffer: Tensor) -> _Found:
    memory = buffer.data
    place = memory.data_ptr() if _plain(memory) else None
    flat = memory
    if memory.ndim != 1 and place is not None and memory.is_contiguous():
        flat = memory.view(-1)
    return _Found(buffer, memory, buffer.requires_grad, place, flat)


def _plain(tensor: Tensor) -> bool:
    """Whether it is values in memory, and nothing else."""
    usual = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return usual and not (tensor.is_quantized or tensor.is_nested)


def _once(tensor: Tensor) -> Tensor:
    """An expanded one without what is there several times, which cannot be written to."""
    for axis, stride in enumerate(tensor.stride()):
        tensor = tensor if stride else tensor.narrow(axis, 0, min(tensor.shape[axis], 1))
    return tensor


def _joined(found: Sequence[_Found]) -> Tensor:
    return torch.cat([one.flat if one.flat.ndim == 1 else one.flat.reshape(-1) for one in found])


def _equal(one: Tensor, other: Tensor) -> bool:
    """To the bit: NaN is NaN."""
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.uint8)
