"""The table of the layers that ran: what each gave, how often, and whether gradients reach it.

One forward pass with a tap on every module, and one backward pass for the gradients.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import LayoutError, OutputError
from gradcam_hooks.images.given import PrepareSpec, as_prepare, with_pictures
from gradcam_hooks.layout.auto import MOST_UNREAD, reached_in
from gradcam_hooks.layout.survey import Survey, Visit
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.presets import own_preprocess, volume_channels
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.keywords import check_call
from gradcam_hooks.network.modules import describe, hookable, unwrap
from gradcam_hooks.network.outputs import OutputSpec, choose, find_dense, find_logits
from gradcam_hooks.network.places import ImageSpec
from gradcam_hooks.network.refused import refusals_told
from gradcam_hooks.network.state import untouched
from gradcam_hooks.network.tree import tensors

__all__ = ["LayerRow", "LayerTable", "first_non_finite", "layers"]


@dataclass(frozen=True)
class LayerRow:
    """One layer that ran.

    Attributes:
        name: dotted name, as ``layer=`` takes it; empty for the model itself.
        type: the module's class.
        shape: its output's shape at its last call, or what it returned if that is no tensor.
        layout: how its axes are read by the rules, and the recommended one's as it is explained;
            empty where they are not those of a map.
        calls: how often it ran in one forward pass.
        gradient: whether the predicted class's gradient reaches it, where it is spatial on more
            than one position; None where that was not asked.
        spatial: whether its output has more than one position in space.
        recommended: whether ``layer="auto"`` takes it.
        channels: how many channels its map has; None where it is none.
        asked: whether the rules are not to be trusted there: where it is explained, the network
            itself is asked, and may tell otherwise.
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
    asked: bool = False

    @property
    def size(self) -> str:
        """The shape for people, such as ``"1x64x8x8"``."""
        return self.shape if isinstance(self.shape, str) else "x".join(map(str, self.shape))

    @property
    def remarks(self) -> list[str]:
        """What is remarkable of its runs; nothing of most."""
        several = [f"runs {self.calls} times"] if self.calls > 1 else []
        asked = ["the network will be asked"] if self.asked else []
        return (
            several + asked + (["no gradient"] if self.spatial and self.gradient is False else [])
        )


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


def layers(
    model: nn.Module | LoadedModel,
    *inputs: object,
    output: OutputSpec = None,
    image: ImageSpec | object = None,
    preprocess: PrepareSpec | None = None,
    **kwargs: object,
) -> LayerTable:
    """The table of the modules that ran for these inputs; the model is left as found.

    Args:
        model: any module, or what `load_model` gave.
        inputs: what its forward takes; the first with space is the image. Paths, pictures and
            lists of these are preprocessed, as `explain` does.
        output: which part of the output holds the logits, as for `GradCAM`.
        image: which input is the image, as for `GradCAM`.
        preprocess: how a picture becomes an input, as for `GradCAM`.
        kwargs: what else its forward takes.

    Returns:
        A `LayerTable`: a row a module, and ``.recommended``, the layer that ``"auto"`` takes.
        Whether gradients reach a layer is asked for the predicted class of each image.

    Raises:
        InputError, ImageError: there is no image among the inputs, or it cannot be read.
    """
    if isinstance(model, LoadedModel):
        preprocess, model = preprocess or model.preprocess, model.model
    network = unwrap(model)
    prepare = None if preprocess is None else as_prepare(preprocess, volume_channels(network))
    args, _ = with_pictures(
        inputs,
        lambda: prepare or own_preprocess(network)[0],
        like=next(network.parameters(), torch.empty(0)),
    )

    check_call(
        network,
        kwargs,
        "The table is of all layers and the predicted class, so none is named; its options are "
        "output=, image= and preprocess=.",
    )

    def work() -> tuple[LayerRow, ...]:
        if image is None or isinstance(image, str | int):
            given = Inputs.of(network, args, kwargs, image=image)
        else:  # an argument of the model's that is called so
            given = Inputs.of(network, args, {"image": image, **kwargs})
        with remembering(output):
            survey = Survey(network, given, gradients=True)
            best, told = _best(survey, reached_in(survey, partial(_predicted, output)))
        rows = (_row(one, survey) for one in survey.visits())
        return tuple(
            replace(row, recommended=True, layout=told, asked=False) if row.name == best else row
            for row in rows
        )

    with refusals_told(network, args):
        return LayerTable(type(network).__name__, untouched(network, work))


def first_non_finite(model: nn.Module, inputs: Inputs) -> str | None:
    """The first module, in the order they finish, whose output has a NaN or an infinity."""
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if not found and any(not t.isfinite().all() for t in tensors(output)):
            found.append(name)

    with hooked(hookable(model), look), torch.set_grad_enabled(False):
        inputs.copied().call(model)
    return describe(found[0]) if found else None


def _predicted(spec: OutputSpec, output: object) -> Tensor:
    """The predicted class's score, summed over the images and their positions."""
    chosen = choose(output, spec)
    for find in (find_logits, find_dense):
        with suppress(OutputError):
            logits = find(chosen)
            return (logits.amax(1) if logits.ndim > 1 else logits).sum()
    # The table is what a user looks at to find out; any score shows where gradients go.
    return torch.stack([t.float().sum() for t in tensors(chosen) if t.requires_grad]).sum()


def _best(survey: Survey, reached: Iterable[Visit]) -> tuple[str | None, str]:
    """The layer that `"auto"` takes, the first that is read, and how it is read."""
    for visit in islice(reached, MOST_UNREAD):
        with suppress(LayoutError):
            return visit.name, survey.asked(visit).told
    return None, ""


def _row(visit: Visit, survey: Survey) -> LayerRow:
    return LayerRow(
        name=visit.name,
        type=type(survey.model.get_submodule(visit.name)).__name__,
        shape=visit.output,
        layout="" if visit.layout is None else str(visit.layout),
        calls=visit.calls,
        gradient=visit.reached,
        spatial=visit.spatial,
        channels=None if visit.layout is None else visit.layout.channels,
        asked=visit.spatial and not survey.plain(visit),
    )
