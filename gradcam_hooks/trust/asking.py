"""What one explanation's network and metrics are asked for a check; no word is made of it here.

Every question is put to the whole batch that was explained, so that each network's way with its
batch stays as it was. What cannot be asked of a network is NaN in the `Evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradcam_hooks.checks import check_seed
from gradcam_hooks.errors import GradCamHooksError, InputError
from gradcam_hooks.metrics.fills import Fill
from gradcam_hooks.metrics.likeness import pearson
from gradcam_hooks.metrics.randomisation import cascade, randomised
from gradcam_hooks.metrics.removal import insertion
from gradcam_hooks.metrics.scores import Scored, scored
from gradcam_hooks.network.outputs import choose, find_logits, probabilities
from gradcam_hooks.results.checked import Again
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.masks import blurred
from gradcam_hooks.targets import Target, settle
from gradcam_hooks.trust.evidence import FLAT, Evidence

__all__ = ["Chances", "blob", "gathered", "smeared"]

_DRAWS, _NOISES, _OTHERS = 3, 2, 3
"""How many networks drawn anew, noisy images and other classes are asked."""

_HAIR = 0.02
"""Of the image's range: how far each value moves at most, by a hair."""

_STEPS, _BLUR = 16, 1 / 16
"""Steps of insertion; the blur's deviation as a share of the map's longest side."""


@dataclass
class _Asked:
    """An explanation that can be made again, of the whole batch, its target fixed."""

    again: Again
    model: nn.Module
    base: Explanation
    target: Target
    seed: int

    @classmethod
    def of(cls, explanation: Explanation, seed: int) -> _Asked:
        again = explanation.again
        model = None if again is None else again.model()
        if again is None or model is None:
            raise InputError(
                "this explanation cannot be made again: its network is gone, or it was copied or "
                "read back. Check it where it is made: gradcam_hooks.explain(model, x).check()."
            )
        args, kwargs = again.inputs.args, again.inputs.kwargs
        base = again.explainer(model)(*args, target=again.target, **kwargs)
        target: Target = base.target if _of_classes(base) else None
        if target is None:
            chosen = choose(base.output, again.output)
            target = settle(again.target, chosen, len(base), base.labels)
        return cls(again, model, base, target, seed)

    def maps(
        self,
        model: nn.Module | None = None,
        image: Tensor | None = None,
        target: Target = None,
        seed: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Maps ``(rows, positions)`` and scores, with something else than what was explained."""
        inputs = self.again.inputs if image is None else self.again.inputs.with_image(image)
        device = inputs.image.device
        chance = torch.Generator(device).manual_seed(seed)
        explainer = self.again.explainer(model or self.model, generator=chance)
        asked = self.target if target is None else target
        made = explainer(*inputs.args, target=asked, **inputs.kwargs)
        return self.rows(made.maps), made.scores.detach().reshape(-1)

    def rows(self, maps: Tensor) -> Tensor:
        """Maps ``(batch[, targets], *space)`` as ``(rows, positions)``."""
        return maps.detach().flatten(0, self.base.scores.ndim - 1).flatten(1).double()


def gathered(explanation: Explanation, *, seed: int = 0) -> list[list[Evidence]]:
    """What is measured of each map: a list per image, of one per target.

    Args:
        explanation: as an explainer gave it, or a part of it.
        seed: for the weights, the noise and the method's random numbers.

    Raises:
        InputError: the explanation cannot be made again.
    """
    check_seed(seed)
    asked = _Asked.of(explanation, seed)
    count = asked.base.scores.numel()
    columns = {
        **_randomised(asked),
        "other": _others(asked),
        "noise": _noise(asked),
        "seed": _likeness(asked, lambda: [asked.maps(seed=seed + 1)[0]]),
        **_inserted(asked),
    }
    plain = {name: values.tolist() for name, values in columns.items()}
    flat = [Evidence(**{name: row[i] for name, row in plain.items()}) for i in range(count)]
    each = count // len(asked.base)
    table = [flat[start : start + each] for start in range(0, count, each)]
    rows = asked.again.rows
    return table if rows is None else [table[row] for row in rows]


def _likeness(asked: _Asked, ask: Callable[[], Sequence[Tensor]]) -> Tensor:
    """The least correlation of each map with others; a blank one is like none; NaN: unasked."""
    own = asked.rows(asked.base.maps)
    found = torch.full((len(own),), math.nan, dtype=torch.float64)
    with suppress(GradCamHooksError):
        for other in ask():
            found = torch.fmin(found, pearson(own, other.to(own)).nan_to_num(0.0).cpu())
    return found


def _randomised(asked: _Asked) -> dict[str, Tensor]:
    """With the head drawn anew, and with all weights; of several draws each."""
    before = asked.base.scores.detach().reshape(-1)

    seeds = [asked.seed + 1000 * number for number in range(_DRAWS)]

    def head() -> list[Tensor]:
        heads = []
        for seed in seeds:
            for _, changed in cascade(asked.model, seed=seed):
                maps, scores = asked.maps(changed)
                if not torch.equal(scores, before):  # else it is no part of the way to the score
                    heads.append(maps)
                    break
        return heads

    def whole() -> list[Tensor]:
        return [asked.maps(randomised(asked.model, seed=seed))[0] for seed in seeds]

    return {"head": _likeness(asked, head), "weights": _likeness(asked, whole)}


def _others(asked: _Asked) -> Tensor:
    """For the likeliest, the least likely and the middle one of the other classes."""

    def ask() -> list[Tensor]:
        base = asked.base
        if base.target is None or base.logits is None or base.logits.shape[1] < 2:
            return []
        target = base.target.reshape(len(base), -1)
        order = base.logits.detach().to(target.device).argsort(1, descending=True)
        found = []
        for place in range(_OTHERS):
            columns = []
            for column in target.T:
                rest = order[order != column[:, None]].view(len(base), -1)
                at = round(place * (rest.shape[1] - 1) / (_OTHERS - 1))
                columns.append(rest[:, at])
            found.append(asked.maps(target=torch.stack(columns, 1).view(base.target.shape))[0])
        return found

    return _likeness(asked, ask)


def _noise(asked: _Asked) -> Tensor:
    image = asked.again.inputs.image

    def ask() -> list[Tensor]:
        reach = (image.amax() - image.amin()).item() * _HAIR
        found = []
        for number in range(_NOISES):
            generator = torch.Generator().manual_seed(asked.seed + number)
            drawn = 2 * torch.rand(image.shape, generator=generator) - 1
            found.append(asked.maps(image=image.detach() + reach * drawn.to(image))[0])
        return found

    return _likeness(asked, ask)


def _inserted(asked: _Asked) -> dict[str, Tensor]:
    """By how much the map beats its controls in insertion, in parts of the score's fall."""
    nothing = torch.full((asked.base.scores.numel(),), math.nan, dtype=torch.float64)
    found = dict.fromkeys(("fall", "center", "reverse", "blur"), nothing)
    base, inputs = asked.base, asked.again.inputs
    image, maps = inputs.image, base.maps.detach()
    plain = len(inputs.args) == 1 and inputs.args[0] is image and not inputs.kwargs
    if not plain or image.ndim < 3 or image.shape[2:] != maps.shape[base.scores.ndim :]:
        return found
    rank = image.ndim - 2
    controls = {"center": blob(maps, rank), "reverse": -maps, "blur": smeared(maps, rank)}
    with suppress(GradCamHooksError):
        score = _score_of(asked, image)
        found = _under(score, image, maps, controls, "blur", asked.seed)
        if bool((found["fall"] < FLAT).any()):  # a blur leaves what this network looks at
            other = _under(score, image, maps, controls, "mean", asked.seed)
            more = other["fall"] > found["fall"]
            found = {name: torch.where(more, other[name], found[name]) for name in found}
    return found


def _under(
    score: Scored, image: Tensor, maps: Tensor, controls: dict[str, Tensor], fill: Fill, seed: int
) -> dict[str, Tensor]:
    """The same where this is what stands in the image at first."""
    own = insertion(score, image, maps, fill=fill, steps=_STEPS, seed=seed)
    ends = own.curves["curve"].flatten(0, -2)
    fall = ends[:, -1] - ends[:, 0]
    found = {"fall": torch.where(ends[:, -1] != 0, fall / ends[:, -1].abs(), 0.0)}
    for name, control in controls.items():
        area = insertion(score, image, control, fill=fill, steps=_STEPS, seed=seed).values
        found[name] = torch.where(fall > 0, (own.values - area).reshape(-1) / fall, math.nan)
    return found


def _of_classes(base: Explanation) -> bool:
    return base.target is not None and base.logits is not None and base.logits.shape[1] > 1


def _score_of(asked: _Asked, image: Tensor) -> Scored:
    """The probability of the classes that were explained; of another target its score."""
    output, base = asked.again.output, asked.base
    score = scored(asked.model, image, asked.target, output=output, labels=base.labels)
    if not _of_classes(base) or base.target is None:
        return score
    index = base.target.reshape(len(base), -1)
    return Chances(
        score.model, score.target, score.batch, output, score.labels, index, base.multi_label
    )


@dataclass(frozen=True)
class Chances(Scored):
    """A score that is the probability of classes, ``(n, targets)``."""

    index: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    multi_label: bool = False

    def __call__(self, images: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """As `Scored`."""
        chances = probabilities(find_logits(self.output_of(images)), multi_label=self.multi_label)
        own = self.index if rows is None else self.index[list(rows)]
        return chances.gather(1, own.to(chances.device))


def blob(maps: Tensor, rank: int) -> Tensor:
    """A Gaussian in the centre, a quarter of each side wide, of the shape of the maps.

    >>> blob(torch.zeros(1, 3), 1).argmax().item()
    1
    """
    total = torch.zeros(maps.shape[-rank:], device=maps.device)
    for axis, cells in enumerate(maps.shape[-rank:]):
        at = (torch.arange(cells, device=maps.device) + 0.5) / cells - 0.5
        total = total - (4 * at).square().view(-1, *[1] * (rank - 1 - axis)) / 2
    return total.exp().expand_as(maps)


def smeared(maps: Tensor, rank: int) -> Tensor:
    """The maps under a Gaussian blur, a sixteenth of the longest side wide.

    >>> smeared(torch.tensor([[0.0, 1.0, 0.0]]), 1).argmax().item()
    1
    """
    width = max(1.0, max(maps.shape[-rank:]) * _BLUR)
    flat = maps.reshape(-1, 1, *maps.shape[-rank:]).float()
    return blurred(flat, 2 * math.ceil(2 * width) + 1, width).view(maps.shape)
