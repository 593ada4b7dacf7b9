"""What every module of a network gave in one forward pass, in the order in which they finished.

One pass with a hook on every module, and where gradients are asked for a tap on every module. How
a layer is read is looked up when it is asked for, by the rules. Knows layouts; no score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.evidence import is_position, outwards
from gradcam_hooks.layout.reader import LayerReading, Words, by_rules, is_plain, read
from gradcam_hooks.layout.reading import Layout
from gradcam_hooks.layout.watching import Watched
from gradcam_hooks.network.attending import Attending, are_weights, unattended
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.network.hooking import entered, hooked
from gradcam_hooks.network.hooks import Tapped
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import hookable, named
from gradcam_hooks.network.outputs import main_tensor, told_grid, with_tensor
from gradcam_hooks.network.tap import Tap
from gradcam_hooks.network.tree import tensors

__all__ = ["Survey", "Visit", "reaches"]


@dataclass
class Visit:
    """What a module gave at its last call.

    Attributes:
        name: its dotted name; empty for the model itself.
        calls: how often it ran.
        output: the shape of what it gave; in words, where that is no tensor.
        real: whether that is of real numbers, which carry gradients.
        weights: whether that is an attention's weights.
        grid: the grid of its tokens that it told beside them.
        tap: where gradients were asked for, what keeps the one that comes to it.
        layout: how its axes are read by the rules; None where they are not those of a map.
        inside: whether it is a part of an attention, or of what tells places.
        spatial: whether it has more than one position in space, that gradients may reach
            and that no attention keeps to itself.
    """

    name: str
    calls: int = 0
    output: tuple[int, ...] | str = ""
    real: bool = False
    weights: bool = False
    grid: tuple[int, ...] | None = None
    tap: Tap | None = None
    layout: Layout | None = None
    inside: bool = False
    spatial: bool = False

    @property
    def cells(self) -> int:
        """How many positions in space it has; 0 where it is no map."""
        return 0 if self.layout is None else math.prod(self.layout.space)

    @property
    def reached(self) -> bool:
        """Whether a gradient came, and, where it is a map, to more than one position of it."""
        gradient = None if self.tap is None else self.tap.gradient
        if gradient is None or self.layout is None or self.cells == 1:
            return gradient is not None and bool(gradient.any())
        return reaches(self.layout.channels_first(gradient))


class Survey:
    """One pass of a model, with what each of its modules gave.

    Call it with the model's state looked after (`untouched`).

    Args:
        model: the network.
        inputs: what it is given.
        gradients: whether a tap is opened on each module, for `backward`.

    Attributes:
        model, inputs: the same.
        output: what the model returned.
        sliced: the modules of whose output another was given a part, such as the class token.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, gradients: bool) -> None:
        self.model, self.inputs = model, inputs
        self.sliced: set[str] = set()
        self._latest: tuple[str, Tensor] | None = None
        self._gradients = gradients
        self._modules = named(model)
        self._visits: dict[str, Visit] = {}
        self._told: set[str] = set()
        modules = hookable(model)
        self._attending = Attending(modules)
        with (
            hooked(modules, self._leave),
            entered(modules, self._enter),
            self._attending,
            Watched.over(model, inputs) as self._seen,
            torch.set_grad_enabled(gradients),
        ):
            self.output = inputs.copied().call(model)
        self._latest = None
        self._axes = self._seen.axes(model, inputs)

    def _enter(self, name: str, args: object, kwargs: object) -> None:
        self._attending.running.append(name)
        given = args[0] if isinstance(args, tuple) and args else None
        if self._latest is not None and isinstance(given, Tensor):
            latest, whole = self._latest
            with unattended():
                root = whole if whole._base is None else whole._base
                if given.ndim < whole.ndim and given._base is root:
                    self.sliced.add(latest)

    def _leave(self, name: str, output: object) -> object:
        with unattended():
            visit, given = self._noted(name, output)
        if given is not None and self._gradients and visit.real:
            visit.tap = Tap(given, "cut")
            return with_tensor(output, given, visit.tap.downstream())
        return None

    def _noted(self, name: str, output: object) -> tuple[Visit, Tensor | None]:
        """What a module gave, noted; and the tensor that it is about."""
        given = main_tensor(output)
        weights = given is not None and are_weights(given)
        self._attending.leave(name, weights=weights and given is output)
        visit = self._visits.pop(name, None) or Visit(name)
        self._visits[name] = visit  # in the order in which they last finished
        visit.calls += 1
        if given is None:
            count = sum(1 for _ in tensors(output))
            visit.output = f"{type(output).__name__} of {count} tensor{'s' * (count != 1)}"
            return visit, None
        visit.output, visit.grid = tuple(given.shape), told_grid(output)
        self._latest = name, given
        visit.real, visit.weights = given.is_floating_point(), weights
        return visit, given

    def visits(self, *, last_first: bool = False) -> Iterator[Visit]:
        """Those that ran, with how they are read, in the order in which they last finished."""
        visits = list(self._visits.values())
        for visit in reversed(visits) if last_first else visits:
            if visit.name not in self._told:
                self._tell(visit)
                self._told.add(visit.name)
            yield visit

    def _tell(self, visit: Visit) -> None:
        visit.layout = self._layout(visit)
        visit.inside = self._attending.within(visit.name) or any(
            is_position(self._modules[one]) for one in _around(visit.name)
        )
        visit.spatial = visit.real and visit.cells > 1 and not visit.inside

    def _layout(self, visit: Visit) -> Layout | None:
        shape = visit.output
        if isinstance(shape, str) or len(shape) < 3 or visit.weights:
            return None
        image, seen = self.inputs.image, self._seen
        size = seen.size(self._axes, image)
        with suppress(LayoutError):
            return by_rules(
                shape,
                size,
                visit.name,
                self._modules,
                self._axes,
                len(image),
                seen.stem,
                visit.grid,
            )
        return None

    def tapped(self, visit: Visit) -> Tapped | None:
        """The last call of a module; None where there was no tap on it."""
        if visit.tap is None:
            return None
        return Tapped(visit.name, visit.name, visit.calls - 1, visit.tap)

    def asked(self, visit: Visit) -> LayerReading:
        """How an explanation reads a module's last call: where the rules are not, it is asked.

        Raises:
            LayoutError: nobody can tell.
        """
        tapped = self.tapped(visit)
        assert tapped is not None  # of a pass with gradients, and of real numbers
        return read(Words(), self.model, self.inputs, tapped, self._seen)

    def plain(self, visit: Visit) -> bool:
        """Whether an explanation believes what the rules read there."""
        if visit.layout is None or isinstance(visit.output, str):
            return True
        shape, seen = visit.output, self._seen
        weights = visit.weights
        return is_plain(self.model, self.inputs, visit.layout, seen, shape, weights=weights)

    def backward(self, score: Tensor) -> None:
        """Let the taps keep the gradients of a score, which no path may lead to."""
        taps = [v.tap for v in self._visits.values() if v.tap is not None]
        kinds = {score.dtype, *(tap.activation.dtype for tap in taps)}
        if not score.requires_grad:
            return

        def grad(factor: float, retain: bool | None) -> Sequence[Tensor | None]:
            edges = [tap.edge for tap in taps if tap.edge is not None]
            seed = torch.full_like(score, factor)
            return torch.autograd.grad(score, edges, seed, retain_graph=retain, allow_unused=True)

        found = unscaled(grad, kinds)
        if torch.float16 in kinds:  # the hooks saw it scaled
            for tap, gradient in zip(taps, found, strict=True):
                tap.gradient = gradient


def _around(name: str) -> list[str]:
    return list(outwards(name))[:-1]


def reaches(gradient: Tensor | None, lead: int = 1) -> bool:
    """Whether a gradient ``(*lead, channels, *space)`` is there on more than one position."""
    if gradient is None:
        return False
    return bool((gradient.ne(0).any(lead).flatten(lead).sum(-1) > 1).any())
