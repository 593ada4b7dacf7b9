"""Which layer ``layer="auto"`` takes: the last whose space the gradient of the score reaches.

A layer that runs several times counts by its last call. The inside of an attention is none, and
neither are the logits of a segmentation, whose map would be the answer itself, nor a gate of one
channel, whose map is the same for every class. Knows layouts and the model's output; the score is
a function that is handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import LayerError, OutputError
from gradcam_hooks.layout.survey import Survey, Visit, reaches
from gradcam_hooks.network.final_softmax import hand_on
from gradcam_hooks.network.hooks import Call
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.outputs import find_logits, flat_logits
from gradcam_hooks.network.tap import Tap
from gradcam_hooks.network.tree import mapped, tensors

__all__ = [
    "MOST_UNREAD",
    "Candidate",
    "Score",
    "candidates",
    "finer_than",
    "last",
    "reached",
    "reached_in",
    "taken",
]

Score = Callable[[object], Tensor]
"""From the model's output to the number whose gradient is asked, in the graph."""

MOST_UNREAD = 8
"""How many layers in a row the network is asked about, where none can be read."""

_MOST_AHEAD = 24
"""How many layers are tried in one pass, where of the last only one position may be read."""

_MOST_BESIDE = 17
"""How many tokens beside the patches are looked for: a class token and sixteen registers."""

_MOST_DOUBTED = 3
"""How many layers of such tokens are asked about."""


@dataclass(frozen=True)
class Candidate:
    """A layer that ``"auto"`` may take, and which of its calls.

    Attributes:
        name: its dotted name.
        call: as the user said; where nobody did, the last (-1) of several.
        ahead: those to try in the same pass where only one position of it is read, as of the last
            tokens of a transformer with a class token; the last first.
    """

    name: str
    call: Call
    ahead: tuple[str, ...] = ()


def candidates(
    model: nn.Module, inputs: Inputs, score: Score, call: Call = None
) -> Iterator[Candidate]:
    """The layers to try, the best first: the last to run, which nearly always will do, at the
    price of one forward pass without gradients; then those that the score's gradient reaches.

    Call it, and the others, with the model's state already looked after (`untouched`).

    Raises:
        LayerError: there is none.
    """
    survey = Survey(model, inputs, gradients=False)
    dense = _dense(survey.output, inputs.image.ndim)
    found = last(survey, call)
    doubted = any(_doubted(survey, found))
    if not doubted and (not dense or (len(dense) == 1 and not _has_logits(survey.output))):
        classes = {_classes(one, inputs.image.ndim) for one in dense}
        fit = _ahead_of_logits(_fit(survey, call), classes)
        found = next(fit)
        single = not dense and found.calls == 1 and survey.plain(found)
        if not single or found.name not in survey.sliced:
            yield _candidate(found, call)
        if single:
            some = islice(fit, _MOST_AHEAD)
            ahead = tuple(one.name for one in some if one.calls == 1 and survey.plain(one))
            if found.name in survey.sliced:
                yield Candidate(found.name, call, ahead)
            elif ahead:
                yield Candidate(ahead[0], call, ahead[1:])
    for one in reached(model, inputs, score, call):
        if one.name != found.name or dense or doubted:
            yield one


_TAKEN: WeakKeyDictionary[nn.Module, dict[tuple[Hashable, ...], Candidate]] = WeakKeyDictionary()


def taken(model: nn.Module) -> dict[tuple[Hashable, ...], Candidate]:
    """What was taken before, by whatever it depended on; to be added to. It lives as the model."""
    return _TAKEN.setdefault(model, {})


def last(survey: Survey, call: Call = None) -> Visit:
    """The last layer with space to run.

    Raises:
        LayerError: there is none.
    """
    found = next(_fit(survey, call), None)
    if found is None:
        raise LayerError(
            f"no layer of {type(survey.model).__name__} gives a spatial output that is read "
            "without doubt, so layer='auto' has nothing to choose. Name a layer; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )
    return found


def reached(
    model: nn.Module, inputs: Inputs, score: Score, call: Call = None
) -> Iterator[Candidate]:
    """The layers with space that the gradient of a score of the output reaches, the last first."""
    survey = Survey(model, inputs, gradients=True)
    return (_candidate(one, call) for one in reached_in(survey, score, call))


def reached_in(survey: Survey, score: Score, call: Call = None) -> Iterator[Visit]:
    """The same of a pass that has been, with a tap on every layer."""
    taken: list[tuple[Tensor, Tensor]] = []

    def alias(tensor: Tensor) -> Tensor:
        if not (tensor.requires_grad and tensor.is_floating_point()):
            return tensor
        here = tensor.view_as(tensor)
        hand_on(tensor, here)
        taken.append((tensor, here))
        return here

    with torch.enable_grad():
        total = score(mapped(survey.output, alias, strict=False))
    read: list[Tensor] = []
    if total.requires_grad:
        given = torch.autograd.grad(
            total, [here for _, here in taken], allow_unused=True, retain_graph=True
        )
        pairs = zip(taken, given, strict=True)
        read = [one for (one, _), grad in pairs if grad is not None and bool(grad.any())]
    survey.backward(total)
    axes = survey.inputs.image.ndim
    classes = {_classes(one, axes) for one in _dense(read, axes)}
    fit = (one for one in _fit(survey, call) if one.reached)
    found = next(_fit(survey, call), None)
    doubted = () if found is None else islice(_doubted(survey, found), _MOST_DOUBTED)
    return chain(doubted, _ahead_of_logits(fit, classes))


_Sizes = tuple[int, ...]
_FINER: WeakKeyDictionary[nn.Module, dict[_Sizes, str | None]] = WeakKeyDictionary()
"""What was found, which costs a pass."""


def finer_than(
    model: nn.Module, inputs: Inputs, is_coarse: Callable[[Sequence[int]], bool]
) -> str | None:
    """The last layer whose space is not coarse; None where there is none. Asked once a shape."""
    known, shape = _FINER.setdefault(model, {}), tuple(inputs.image.shape)
    if shape not in known:
        fit = _fit(Survey(model, inputs, gradients=False), None)
        fine = (one.name for one in fit if one.layout and not is_coarse(one.layout.space))
        known[shape] = next(fine, None)
    return known[shape]


def _candidate(visit: Visit, call: Call) -> Candidate:
    return Candidate(visit.name, -1 if call is None and visit.calls > 1 else call)


def _fit(survey: Survey, call: Call) -> Iterator[Visit]:
    """The layers with space, the last first.

    Those of one channel, whose map is a gate's and no class's, stand behind all others, and parts
    of attentions are there only where there is no other.
    """
    inside: list[Visit] = []
    gates: list[Visit] = []
    for visit in survey.visits(last_first=True):
        if visit.name and visit.layout and visit.cells > 1 and _ran(visit.calls, call):
            if visit.spatial and visit.layout.channels > 1:
                yield visit
            else:
                (gates if visit.spatial else inside).append(visit)
    yield from gates
    if not any(one.spatial for one in survey.visits()):
        yield from inside


def _doubted(survey: Survey, found: Visit) -> Iterator[Visit]:
    """Behind the last layer that the rules read, the last first, tokens that they cannot.

    They are as many as its cells and a few beside. Where gradients came, those that got them at
    several.
    """
    most = found.cells + min(_MOST_BESIDE, found.cells)
    for visit in survey.visits(last_first=True):
        if visit.name == found.name:
            return
        match visit.output:
            case (batch, int(count), _) if batch == len(survey.inputs.image):
                fits = visit.real and not visit.inside and found.cells < count <= most
            case _:
                fits = False
        if fits and visit.layout is None and (visit.tap is None or _on_several(visit.tap)):
            yield visit


def _on_several(tap: Tap) -> bool:
    """Whether a gradient came to more than one token."""
    return tap.gradient is not None and reaches(tap.gradient.mT)


def _ran(calls: int, call: Call) -> bool:
    return not isinstance(call, int) or -calls <= call < calls


def _ahead_of_logits(visits: Iterable[Visit], classes: set[int]) -> Iterator[Visit]:
    """Less the last ones, where they give the logits of a segmentation: a channel for each class.

    All of them, where nothing else is there.
    """
    passed: list[Visit] = []
    behind = True
    for visit in visits:
        behind = behind and visit.layout is not None and visit.layout.channels in classes
        if behind:
            passed.append(visit)
        else:
            yield visit
    if behind:
        yield from passed


def _dense(output: object, axes: int) -> list[Tensor]:
    """What the output has of classes at each position of space, for an image of so many axes."""
    found = [one for one in tensors(output) if max(axes - 1, 3) <= one.ndim <= axes]
    return [one for one in found if flat_logits(one).ndim > 2]


def _classes(logits: Tensor, axes: int) -> int:
    return logits.shape[1] if logits.ndim == axes else 1


def _has_logits(output: object) -> bool:
    """Whether there are logits of whole images as well."""
    try:
        return flat_logits(find_logits(output)).ndim == 2
    except OutputError:
        return False
