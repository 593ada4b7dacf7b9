"""The table of the layers that ran: what each gave, how often, and whether gradients reach it.

One forward pass with a hook on every module, and for the gradients one backward pass through a
tap on every module. `layer="auto"` needs the first half alone, as a rule.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import LayerError, LayoutError, OutputError
from gradcam_hooks.layout.evidence import beside_the_image
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.reader import Watched, by_rules
from gradcam_hooks.layout.reading import Layout
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.hooks import Call
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe, hookable, named, unwrap
from gradcam_hooks.network.outputs import (
    OutputSpec,
    choose,
    find_logits,
    main_tensor,
    told_grid,
    with_tensor,
)
from gradcam_hooks.network.places import ImageSpec
from gradcam_hooks.network.refused import refusals_told
from gradcam_hooks.network.state import untouched
from gradcam_hooks.network.tap import Tap
from gradcam_hooks.network.tree import children, tensors

__all__ = ["LayerRow", "LayerTable", "first_non_finite", "layers", "reached", "reaches", "spatial"]


Score = Callable[[object], Tensor]
"""From the model's output to the number whose gradient is asked, in the graph."""


@dataclass(frozen=True)
class LayerRow:
    """One layer that ran.

    Attributes:
        name: dotted name, as ``layer=`` takes it; empty for the model itself.
        type: the module's class.
        shape: its output's shape at its last call, or what it returned if that is no tensor.
        layout: how its axes are read; empty where they are not those of a map.
        calls: how often it ran in one forward pass.
        gradient: whether the predicted class's gradient reaches it, where it is spatial on more
            than one position; None where that was not asked.
        spatial: whether its output has more than one position in space.
        recommended: whether ``layer="auto"`` takes it.
        channels: how many channels its map has; None where it is none.
    """

    name: str
    type: str
    shape: tuple[int, ...] | str
    layout: str
    calls: int
    gradient: bool | None
    spatial: bool
    recommended: bool = False
    channels: int | None = None

    @property
    def size(self) -> str:
        """The shape for people, such as ``"1x64x8x8"``."""
        return self.shape if isinstance(self.shape, str) else "x".join(map(str, self.shape))

    @property
    def remarks(self) -> list[str]:
        """What is remarkable of its runs; nothing of most."""
        several = [f"runs {self.calls} times"] if self.calls > 1 else []
        return several + (["no gradient"] if self.spatial and self.gradient is False else [])


@dataclass(frozen=True)
class LayerTable(Sequence[LayerRow]):
    """The layers of a model in the order they finished; prints as a table."""

    model: str
    rows: tuple[LayerRow, ...]

    @property
    def recommended(self) -> str | None:
        """The name of the layer that ``layer="auto"`` takes; None where none is fit."""
        return next((row.name for row in self.rows if row.recommended), None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as tuple's, int or slice
        return self.rows[index]

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __rich__(self) -> object:
        """The recommended layer marked; what is dim has no space to explain."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
        table.title, table.title_justify = f"Layers of {self.model}, in the order they ran", "left"
        for heading in ("layer", "type", "output", ""):
            table.add_column(heading, overflow="fold")
        for row in self.rows:
            axes = re.sub(r"=\d+", "", row.layout)  # the sizes stand beside
            notes = [
                *(["<- recommended"] if row.recommended else []),
                *([axes] if row.spatial and not axes.startswith("b c") else []),
                *row.remarks,
            ]
            cells = (row.name or "(the model itself)", row.type, row.size, "; ".join(notes))
            style = "bold green" if row.recommended else "" if row.spatial else "dim"
            table.add_row(*map(Text, cells), style=style)
        return table

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=160, color_system=None).print(self)
        return text.getvalue().rstrip()


@dataclass
class _Visit:
    name: str
    calls: int = 0
    output: object = None
    grid: tuple[int, ...] | None = None
    tap: Tap | None = None


@dataclass
class _Record:
    """What every module gave, in the order in which they last finished."""

    model: nn.Module
    gradients: bool
    visits: dict[str, _Visit] = field(default_factory=dict)
    output: object = None
    axes: InputAxes | None = None
    seen: Watched | None = None

    def visit(self, name: str, output: object) -> object:
        visit = self.visits.pop(name, None) or _Visit(name)
        self.visits[name] = visit
        visit.calls += 1
        given = main_tensor(output)
        visit.output = _shape(output) if given is None else tuple(given.shape)
        visit.grid = told_grid(output)
        if self.gradients and given is not None and given.is_floating_point():
            visit.tap = Tap(given, "cut")
            return with_tensor(output, given, visit.tap.downstream())
        return None

    def run(self, inputs: Inputs) -> None:
        modules = hookable(self.model)
        with (
            hooked(modules, self.visit),
            Watched.over(self.model, inputs) as seen,
            torch.set_grad_enabled(self.gradients),
        ):
            self.output = inputs.copied().call(self.model)
        self.seen, self.axes = seen, seen.axes(self.model, inputs)


def _shape(output: object) -> str:
    count = sum(1 for _ in tensors(output))
    return f"{type(output).__name__} of {count} tensor{'s' * (count != 1)}"


def layers(
    model: nn.Module,
    *inputs: object,
    output: OutputSpec = None,
    image: ImageSpec | object = None,
    **kwargs: object,
) -> LayerTable:
    """The table of the modules that ran for these inputs; the model is left as found.

    Args:
        model: any module.
        inputs: what its forward takes; the first with space is the image.
        output: which part of the output holds the logits, as for `GradCAM`.
        image: which input is the image, as for `GradCAM`.
        kwargs: what else its forward takes.

    Returns:
        A `LayerTable`: a row a module, and ``.recommended``, the layer that ``"auto"`` takes.
        Whether gradients reach a layer is asked for the predicted class of each image.

    Raises:
        InputError: there is no image among the inputs.
    """
    model = unwrap(model)

    def work() -> tuple[list[LayerRow], list[LayerRow]]:
        if image is None or isinstance(image, str | int):
            given = Inputs.of(model, inputs, kwargs, image=image)
        else:  # an argument of the model's that is called so
            given = Inputs.of(model, inputs, {"image": image, **kwargs})
        with remembering(output):
            return _with_gradients(model, given, partial(_predicted, output))

    with refusals_told(model):
        rows, fit = untouched(model, work)
    best = next((row.name for row in reversed(fit) if row.gradient), None)
    return LayerTable(
        type(model).__name__, tuple(replace(row, recommended=row.name == best) for row in rows)
    )


def spatial(model: nn.Module, inputs: Inputs, call: Call = None) -> list[str]:
    """The layers whose output is spatial, as they ran; one forward pass without gradients.

    Those that ran several times are none, unless ``call`` says which of their calls is meant.

    Call it, and `reached`, with the model's state already looked after (`untouched`).

    Raises:
        LayerError: there is none.
    """
    record = _Record(model, gradients=False)
    record.run(inputs)
    rows = _rows(record, inputs.image)
    names = [row.name for row in _fit(rows, record.output, inputs.image, call)]
    several = [row for row in rows if row.spatial and row.name and row.calls > 1]
    if not names and several and call is None:
        calls = several[-1].calls
        raise LayerError(
            f"every spatial layer of {type(model).__name__} runs several times in one forward "
            f"pass ({several[-1].name!r} {calls} times). Pass call=0 ... call={calls - 1} for "
            "one of them, or call='all' for a map of each."
        )
    if not names:
        raise LayerError(
            f"no layer of {type(model).__name__} gives a spatial output that is read without "
            "doubt, so layer='auto' has nothing to choose. Name a layer; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )
    return names


def reached(model: nn.Module, inputs: Inputs, score: Score, call: Call = None) -> list[str]:
    """The spatial layers that the gradient of a score of the output reaches, as they ran."""
    _, fit = _with_gradients(model, inputs, score, call)
    return [row.name for row in fit if row.gradient]


def _with_gradients(
    model: nn.Module, inputs: Inputs, score: Score, call: Call = None
) -> tuple[list[LayerRow], list[LayerRow]]:
    """The rows of the table, and those fit for ``"auto"``, by one forward and backward pass."""
    record = _Record(model, gradients=True)
    record.run(inputs)
    taps = [visit.tap for visit in record.visits.values() if visit.tap is not None]
    with torch.enable_grad():
        total = score(record.output)
    if total.requires_grad:
        edges = [tap.edge for tap in taps if tap.edge is not None]
        torch.autograd.grad(total, edges, allow_unused=True)
    rows = _rows(record, inputs.image)
    return rows, _fit(rows, record.output, inputs.image, call)


def reaches(gradient: Tensor | None, lead: int = 1) -> bool:
    """Whether a gradient ``(*lead, channels, *space)`` is there on more than one position."""
    if gradient is None:
        return False
    return bool((gradient.ne(0).any(lead).flatten(lead).sum(-1) > 1).any())


def first_non_finite(model: nn.Module, inputs: Inputs) -> str | None:
    """The first module, in the order they finish, whose output has a NaN or an infinity."""
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if not found and any(not t.isfinite().all() for t in tensors(output)):
            found.append(name)

    with hooked(hookable(model), look), torch.set_grad_enabled(False):
        inputs.copied().call(model)
    return describe(found[0]) if found else None


def _fit(rows: Sequence[LayerRow], output: object, image: Tensor, call: Call) -> list[LayerRow]:
    """The layers that ``"auto"`` may take.

    The last ones of a segmentation network give its logits, whose channels are the classes: a map
    of these would be the answer itself, so they are none.
    """
    fit = [row for row in rows if row.spatial and row.name and _ran(row.calls, call)]
    classes = _dense_classes(output, image.ndim)
    before = len(fit)
    while before and fit[before - 1].channels == classes:
        before -= 1
    return fit[:before] or fit


def _ran(calls: int, call: Call) -> bool:
    """Whether one call is meant without doubt, or all."""
    if call is None:
        return calls == 1
    return not isinstance(call, int) or -calls <= call < calls


def _dense_classes(output: object, axes: int) -> int | None:
    """How many classes the logits of a segmentation tell of; None for any other output."""
    parts = dict(children(output))
    found = [parts[key] for key in ("logits", "out") if key in parts] or list(tensors(output))
    dense = [one for one in found if isinstance(one, Tensor) and one.ndim >= max(axes - 1, 3)]
    if len(dense) != 1 or dense[0].ndim > axes:
        return None
    return dense[0].shape[1] if dense[0].ndim == axes else 1


def _predicted(spec: OutputSpec, output: object) -> Tensor:
    """The predicted class's score, summed over the images."""
    chosen = choose(output, spec)
    try:
        logits = find_logits(chosen)
    except OutputError:
        # The table is what a user looks at to find out; any score shows where gradients go.
        return torch.stack([t.float().sum() for t in tensors(chosen) if t.requires_grad]).sum()
    return logits.amax(1).sum() if logits.ndim == 2 else logits.sum()


def _reached(gradient: Tensor | None, layout: Layout | None) -> bool:
    if gradient is None or layout is None or math.prod(layout.space) == 1:
        return gradient is not None and bool(gradient.any())
    return reaches(layout.channels_first(gradient))


def _rows(record: _Record, image: Tensor) -> list[LayerRow]:
    modules, axes, seen = named(record.model), record.axes, record.seen
    assert axes is not None  # the record has run
    assert seen is not None
    size = seen.size(axes, image)
    rows = []
    for visit in record.visits.values():
        layout = None
        if isinstance(visit.output, tuple) and len(visit.output) > 2:
            with suppress(LayoutError):
                layout = by_rules(
                    visit.output,
                    size,
                    visit.name,
                    modules,
                    axes,
                    len(image),
                    seen.stem,
                    visit.grid,
                )
        spatial = (
            layout is not None
            and math.prod(layout.space) > 1
            and isinstance(visit.output, tuple)
            and not beside_the_image(visit.name, modules)
        )
        reached: bool | None = None
        if record.gradients:
            reached = visit.tap is not None and _reached(visit.tap.gradient, layout)
        rows.append(
            LayerRow(
                name=visit.name,
                type=type(modules[visit.name]).__name__,
                shape=visit.output if isinstance(visit.output, tuple) else str(visit.output),
                layout="" if layout is None else str(layout),
                calls=visit.calls,
                gradient=reached,
                spatial=spatial,
                channels=None if layout is None else layout.channels,
            )
        )
    return rows
