"""The hook pair on a named layer: the tap, the cut, and the block that opens and closes them.

**The tap.** The layer's forward hook hands its output to a private identity module, the `Tap`,
which carries the full-backward hook; what goes on downstream is a clone. PyTorch forbids changing
in place what leaves a module with a full-backward hook, and most CNNs do just that, so a hook
straight on the layer fails where this one does not.

**The cut.** The forward pass runs without gradients until the first tapped layer; its output
becomes a leaf, gradients are on from there, and the backward pass ends at that leaf. That is a
network split by hand into features and classifier, made by the hooks, at the price of inference.

**First in line.** What is explained is what the layer's ``forward`` returned, ahead of every other
hook, whoever registered it and when: a hook that comes first may keep a tensor, as U-Nets, timm and
transformers do, whose path to the score would then be lost; and one that puts something else in the
output's place does so behind the tap, as a part of what follows the layer.

**A thread sees its own pass.** The open pass belongs to the thread that runs it. While one thread
explains, others may run or explain the same model, through the same block if they like, and get
what they would have got.

Knows modules and tensors; knows nothing of images, targets or maps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from gradcam_hooks.errors import GradientError, InputError, LayerDidNotRun, LayerError
from gradcam_hooks.network.blocks import Block
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.network.hooking import Hooks
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe, named
from gradcam_hooks.network.outputs import main_tensor, told_grid, with_tensor
from gradcam_hooks.network.tap import Tap, Way
from gradcam_hooks.network.tree import drawn

__all__ = ["WRITES", "Call", "Pass", "Tapped", "Taps"]

Call = int | str | None
"""Which call of a layer that runs several times: an index from 0, ``"all"``, or None: only one."""

WRITES = (
    "the model writes to its own input, and would have to run on it once more, which would be "
    "another input by then. Let it work on a copy: x = x - mean rather than x -= mean."
)
"""What to say where a second run is needed and cannot be."""

_CHUNK_BYTES = 1 << 24
"""Gradients held at once when many targets are asked: about what a cache holds, and little enough
that the allocator hands the same memory out again."""

_T = TypeVar("_T")


class Tapped(NamedTuple):
    """A tap with its layer and call; the label tells the call where the layer ran several times."""

    name: str
    label: str
    call: int
    tap: Tap


@dataclass
class Pass:
    """One forward pass through an opened model: its output and its taps.

    Attributes:
        way: how gradients ran.
        output: what the model returned, whatever that is, still in the graph.
        wrote: whether the model wrote to its own input, so that it must not be run on it again.
        cast: what autocast around the pass computes in; None without.
        taps: per layer, in the order named, one tap for each call that was asked for.
        late: the layers whose output another hook saw before the tap did.
        elsewhere: the layers that ran in another thread meanwhile.
    """

    names: Sequence[str]
    call: Call
    way: Way
    output: object = None
    wrote: bool = False
    cast: torch.dtype | None = None
    taps: dict[str, list[Tap]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    late: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)

    def visit(self, name: str, output: object) -> object:
        """Tap one call of a layer; what is returned takes the output's place downstream."""
        index = self.calls[name]
        self.calls[name] += 1
        if isinstance(self.call, int) and self.call >= 0 and index != self.call:
            return None
        given = main_tensor(output)
        if given is not None and given.is_quantized:
            raise GradientError(
                f"layer {describe(name)} is quantised, it gives {given.dtype}, and PyTorch has no "
                "gradient for integers. Explain the floating-point model that it was made of."
            )
        if given is None or not given.is_floating_point():
            what = f"a {given.dtype} tensor" if given is not None else type(output).__name__
            shown = f":\n{drawn(output)}\n" if given is None else ". "
            raise LayerError(
                f"layer {describe(name)} returns {what}, and a map needs one floating-point "
                f"tensor{shown}Name a module inside it that returns one; "
                "gradcam_hooks.layers(model, x) lists them."
            )
        tap = Tap(given, self.way)
        tap.grid = told_grid(output)
        self.taps.setdefault(name, []).append(tap)
        return with_tensor(output, given, tap.downstream())

    def select(self) -> list[Tapped]:
        """The taps that were asked for, in the order the layers were named.

        Raises:
            LayerDidNotRun: this input did not pass through a layer.
            LayerError: a layer ran several times and nobody said which call is meant.
        """
        chosen: list[Tapped] = []
        for name in self.names:
            count = self.calls[name]
            if not count:
                raise LayerDidNotRun(self._did_not_run(name))
            taps = self.taps.get(name, [])
            if self.call is None and count > 1:
                raise LayerError(
                    f"layer {describe(name)} ran {count} times in one forward pass; pass "
                    f"call=0 ... call={count - 1} to choose one, or call='all' for a map of each."
                )
            if isinstance(self.call, int):
                if not -count <= self.call < count:
                    raise LayerError(
                        f"layer {describe(name)} ran {count} time{'s' * (count > 1)}, so call= "
                        f"goes from 0 to {count - 1}, not {self.call}."
                    )
                taps = taps[-1:] if self.call >= 0 else [taps[self.call]]
            first = self.call % count if isinstance(self.call, int) else 0
            for index, tap in enumerate(taps, first):
                label = name if count == 1 else f"{name}#{index}"
                chosen.append(Tapped(name, label, index, tap))
        return chosen

    def _did_not_run(self, name: str) -> str:
        if name in self.elsewhere:
            return (
                f"layer {describe(name)} did not run in the thread that explains, and ran in "
                "another. A model that hands its parts to threads of its own (DataParallel on "
                "several devices, a pool of threads in its forward) must run in one to be "
                "explained; explain the part itself, or take it out of its DataParallel."
            )
        return (
            f"layer {describe(name)} exists but did not run for this input. "
            "gradcam_hooks.layers(model, x) lists the layers that ran."
        )

    def backward(self, scores: Tensor) -> None:
        """One backward pass from ``scores (batch,)`` to the taps; fills each tap's gradient."""
        taps, graph = self._all(), self.way == "graph"

        def grad(factor: float, retain: bool | None) -> Sequence[Tensor | None]:
            return torch.autograd.grad(
                scores,
                _edges(taps),
                torch.full_like(scores, factor),
                retain_graph=retain,
                create_graph=graph,
                allow_unused=True,
            )

        try:
            gradients = unscaled(grad, self.kinds(scores))
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise GradientError(
                "the model checkpoints activations in the reentrant way, which PyTorch lets no "
                "gradient stop at a layer of. Pass use_reentrant=False to its "
                "torch.utils.checkpoint.checkpoint, or turn checkpointing off for the explanation."
            ) from error
        if graph or torch.float16 in self.kinds(scores):  # the hooks saw it scaled, or out of it
            for tap, gradient in zip(taps, gradients, strict=True):
                tap.gradient = gradient

    def backward_many(self, scores: Tensor, use: Callable[[], _T]) -> list[_T]:
        """Backward passes from ``scores (batch, targets)``, many targets at a time.

        For each chunk of targets every tap's gradient is ``(targets, batch, ...)``, and ``use``
        is called to make something smaller of it; the results come back in order.
        """
        targets = scores.shape[1]
        taps, graph = self._all(), self.way == "graph"
        bytes_each = max(t.activation.numel() * t.activation.element_size() for t in taps)
        chunk = max(1, _CHUNK_BYTES // max(bytes_each, 1))
        results: list[_T] = []
        _keep_memory_between_chunks(scores.device)
        for start in range(0, targets, chunk):
            rows = torch.arange(min(chunk, targets - start), device=scores.device)
            seeds = scores.new_zeros(len(rows), *scores.shape)
            seeds[rows, :, start + rows] = 1
            for tap in taps:
                tap.gradient = None  # so that its memory serves the next chunk
            # Inside a batched pass the hooks see one placeholder for all targets, so here the
            # gradients are those that autograd returns.
            batched = partial(_batched_gradients, scores, _edges(taps), seeds, graph=graph)
            gradients = unscaled(lambda factor, _: batched(factor), self.kinds(scores))  # noqa: B023
            for tap, gradient in zip(taps, gradients, strict=True):
                tap.gradient = gradient
            results.append(use())
        return results

    def kinds(self, *tensors: Tensor) -> set[torch.dtype]:
        """What gradients from and to these, and to the taps, are computed in, as far as is seen."""
        seen = {one.dtype for one in tensors} | {tap.activation.dtype for tap in self._all()}
        return seen if self.cast is None else {*seen, self.cast}

    def _all(self) -> list[Tap]:
        return [tap for taps in self.taps.values() for tap in taps]


def _keep_memory_between_chunks(device: torch.device) -> None:
    """Let the C library hand each chunk the memory of the last, instead of fresh pages.

    glibc gives a block of this size back to the system when it is freed, until it has seen one
    freed that was as large; from then on it keeps them. Nothing is written to this one.
    """
    if device.type == "cpu":
        torch.empty(31 << 20, dtype=torch.uint8)


def _edges(taps: Sequence[Tap]) -> list[GradientEdge]:
    return [tap.edge for tap in taps if tap.edge is not None]


def _batched_gradients(
    scores: Tensor, edges: Sequence[GradientEdge], seeds: Tensor, factor: float, *, graph: bool
) -> Sequence[Tensor | None]:
    def backward(seed: Tensor, *, batched: bool) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(
            scores,
            edges,
            grad_outputs=seed,
            retain_graph=True,
            create_graph=graph,
            allow_unused=True,
            is_grads_batched=batched,
        )

    try:
        return backward(seeds * factor, batched=True)
    except RuntimeError:
        # Some operation downstream has no batching rule. One target at a time is the same
        # mathematics, and raises the true error if there is one.
        each = [backward(seed * factor, batched=False) for seed in seeds]
        return [
            torch.stack([gradient for gradient in one if gradient is not None])
            if one[0] is not None
            else None
            for one in zip(*each, strict=True)
        ]


class Taps(Block):
    """The block in which the forward hooks are registered on the named layers.

    Outside a `forward` of its own, and in other threads, the hooks pass everything through
    untouched, so the model can be used, trained or explained by somebody else while the block is
    open; this block, too, by several threads at once.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], *, call: Call = None) -> None:
        self._model = model
        self._names = tuple(names)
        self.call = call
        modules = named(model)
        for name in self._names:
            if isinstance(modules[name], torch.jit.ScriptModule):
                raise LayerError(
                    f"layer {describe(name)} is scripted or traced and takes no hooks that change "
                    "what flows through it. Name the layer around it or one behind it, or build "
                    "the model with the Python module that it was made of."
                )
        self._hooks = Hooks({name: modules[name] for name in self._names})

    def do(self) -> None:
        """Register the hooks."""
        self._hooks.do()

    def undo(self) -> None:
        """Take them off."""
        self._hooks.undo()

    def forward(self, inputs: Inputs, way: Way = "cut") -> Pass:
        """One forward pass, with the cut where it can be; call it with gradients off.

        Two things can stand against the cut here, and each is noticed and answered with one more
        run, gradients on from the start and the activations copied: a view that was made without
        gradients and is changed in place after it, and an activation that somebody else holds
        and overwrote. A third shows only in the backward pass: a part of the model that runs
        under ``no_grad``, at whose end the gradients go off again; then ask for ``"uncut"``.

        There is one more run, too, where the model put a hook ahead of the tap while it ran.

        Raises:
            LayerError: it does so every time it runs.
        """
        before = inputs.versions()
        again = way
        try:
            first = self._run(inputs, way)
        except RuntimeError as error:
            if way != "cut" or "no_grad mode" not in str(error):
                raise
            again = "uncut"
        else:
            if way == "cut" and any(tapped.tap.overwritten for tapped in first.select()):
                again = "uncut"
            elif not first.late:
                return first
        if inputs.versions() != before:
            raise InputError(WRITES)
        second = self._run(inputs, again)
        if second.late:
            raise LayerError(
                f"whenever the model runs, it puts a hook on {describe(min(second.late))} ahead of "
                "those that are there, and what that hook keeps would be lost to the map. Let it "
                "register the hook once, or without prepend=True."
            )
        return second

    def _run(self, inputs: Inputs, way: Way) -> Pass:
        current, kind = Pass(self._names, self.call, way), inputs.image.device.type
        if torch.is_autocast_enabled(kind):
            current.cast = torch.get_autocast_dtype(kind)
        grad = torch.is_grad_enabled()
        before = inputs.versions()
        try:
            torch.set_grad_enabled(way in ("uncut", "graph"))
            with self._hooks.acting(current.visit) as noticed:
                current.output = inputs.call(self._model)
        finally:
            current.wrote = inputs.versions() != before
            torch.set_grad_enabled(grad)
        current.late, current.elsewhere = noticed.late, noticed.elsewhere
        return current
