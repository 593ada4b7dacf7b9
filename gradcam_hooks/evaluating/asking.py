"""One part of an evaluation: some pictures, explained in every way, and every metric of the maps.

What comes of it is plain numbers, which can be kept and read again. The pictures of a part share
one score with a memory, and one network with its head drawn anew and one with all weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import GradCamHooksError, InputError
from gradcam_hooks.evaluating.controls import blurred
from gradcam_hooks.evaluating.measures import Measure, settings_of
from gradcam_hooks.evaluating.scoring import Remembered, remembered
from gradcam_hooks.evaluating.ways import Way
from gradcam_hooks.metrics import Measured, Scored, cascade, randomised, scored
from gradcam_hooks.network.hooking import entered
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.targets import Target
from gradcam_hooks.trust.asking import Chances

__all__ = ["Asked", "Part", "Question", "part_of"]

HAIR = 0.02
"""Of the images' range: how far each value moves at most, for max-sensitivity."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every picture.

    Attributes:
        model: the network, in whatever mode.
        ways: the rows, without controls.
        measures: the metrics.
        target: what is explained.
        options: `Explainer`'s, for every way.
        seed: of all that is drawn.
    """

    model: nn.Module
    ways: Sequence[Way]
    measures: Sequence[Measure]
    target: Target = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def rows(self) -> list[Way]:
        """The rows of the table: each method ahead of its control, and the baselines."""
        return [row for way in self.ways for row in _with_control(way)]


def _with_control(way: Way) -> list[Way]:
    return [way, way.control] if way.kind == "method" else [way]


@dataclass(frozen=True)
class Part:
    """What was measured on some pictures.

    Attributes:
        numbers: of the pictures.
        values: by row and metric a number for each picture.
        curves: by row and curve one for each picture.
        seconds: that each row's maps took, for one picture.
        passes: forward passes that each row's maps took, for one picture.
        answers: the class that the network says; -1 where the target is no class.
        scores: what it says of what is explained.
        scored: how many images the metrics sent through the network.
        even: the share of each picture that its object takes; empty where that is not known.
    """

    numbers: tuple[int, ...]
    values: Mapping[str, Mapping[str, Sequence[float]]]
    curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
    seconds: Mapping[str, float]
    passes: Mapping[str, float]
    answers: tuple[int, ...]
    scores: tuple[float, ...]
    scored: int = 0
    even: tuple[float, ...] = ()

    def plain(self) -> dict[str, object]:
        """For JSON: what is no number is null."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, plain: Any) -> Part:
        """What `plain` gave, read again.

        Raises:
            ValueError, TypeError, KeyError, OverflowError: it is something else.
        """
        read = {name: _read(value) for name, value in dict(plain).items()}
        for name in ("numbers", "answers", "scores", "even"):
            read[name] = tuple(read[name])
        part, count = cls(**read), len(read["numbers"])
        own = [one for row in part.values.values() for one in row.values()]
        drawn = [one for row in part.curves.values() for one in row.values()]
        each: list[Sequence[object]] = [part.numbers, part.answers, part.scores, *own, *drawn]
        if any(len(one) != count for one in each) or len(part.even) not in (0, count):
            raise ValueError("there is not one number for each picture")
        if any(type(one) is not int for one in (*part.numbers, *part.answers)):
            raise ValueError("a picture's or a class's number is none")
        curves = [curve for one in drawn for curve in one]
        if len({len(curve) for curve in curves}) > 1:
            raise ValueError("curves differ in length")
        some = [*part.seconds.values(), *part.passes.values(), part.scored]
        for one in (*each[:3], part.even, *own, *curves, some):
            torch.tensor(one, dtype=torch.float64)  # refuses what is none
        return part


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _read(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_read(one) for one in value]
    return math.nan if value is None else value


class Asked:
    """The pictures of one part, asked.

    Args:
        question: what is asked.
        images: ``(pictures, channels, *space)``, as the network takes them.
        numbers: of the pictures.
    """

    def __init__(self, question: Question, images: Tensor, numbers: Sequence[int]) -> None:
        self.question, self.numbers = question, tuple(numbers)
        like = next(question.model.parameters(), torch.empty(0)).detach()
        self.images = images.detach().to(like)
        self.seed = question.seed + 7919 * self.numbers[0]
        self.target: Target = question.target
        self.base: Explanation | None = None
        self.score: Remembered | None = None
        self.failed: dict[str, str] = {}
        self._anew: dict[str, nn.Module] = {}
        self._kept: tuple[str, dict[str, Tensor]] = ("", {})

    def explained(
        self,
        way: Way,
        model: nn.Module | None = None,
        images: Tensor | None = None,
        target: Target = None,
    ) -> Explanation:
        """The pictures' explanation in one way, with something else than what is asked about."""
        chance = torch.Generator(self.images.device).manual_seed(self.seed)
        explainer = way.explainer(
            model or self.question.model, generator=chance, **self.question.options
        )
        given = self.images if images is None else images
        return explainer(given, target=self.target if target is None else target)

    def maps(self, way: Way) -> tuple[Tensor, float, float] | None:
        """The maps, the seconds and the forward passes that each took; None where it fails."""
        passes = [0]

        def count(_: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
            first = next((one for one in args if isinstance(one, Tensor)), None)
            passes[0] += 1 if first is None else len(first)

        start = time.perf_counter()
        try:
            with entered({"": self.question.model}, count):
                found = self.explained(way)
        except GradCamHooksError as error:
            self.failed[way.key] = str(error)
            return None
        spent, each = time.perf_counter() - start, len(self.images)
        if self.score is None:
            self._settle(found)
        return found.maps.detach(), spent / each, passes[0] / each

    def _settle(self, found: Explanation) -> None:
        """Fix what is asked of each picture, and by which score the maps are judged."""
        if found.scores.ndim != 1:
            raise InputError(
                "an evaluation is of one map for each picture; ask for one target, such as a "
                "class or none, for the predicted one."
            )
        options = self.question.options
        output = options.get("output")
        if found.target is not None and found.logits is not None and found.logits.shape[1] > 1:
            index = found.target.reshape(len(found), -1)
            score: Scored = Chances(
                self.question.model, found.target, len(found), output, found.labels, index,
                found.multi_label,
            )  # fmt: skip
            self.target = found.target
        else:
            score = scored(self.question.model, self.images, self.question.target, output=output)
            self.target = score.target
        self.base, self.score = found, remembered(score)

    def anew(self) -> dict[str, nn.Module]:
        """The network with its head drawn anew, and with all weights; none where it has none."""
        if not self._anew and self.score is not None:
            before = self.score(self.images)
            with suppress(GradCamHooksError):
                for _, changed in cascade(self.question.model, seed=self.seed):
                    if not torch.equal(self._scores(changed), before):
                        self._anew["head"] = changed
                        break
                self._anew["all"] = randomised(self.question.model, seed=self.seed)
        return self._anew

    def maps_anew(self, way: Way) -> dict[str, Tensor]:
        """The maps of these networks; those of the row asked last are kept."""
        if self._kept[0] != way.key:
            networks = self.anew()
            made = {name: self.explained(way, one).maps.detach() for name, one in networks.items()}
            self._kept = way.key, made
        return self._kept[1]

    def _scores(self, model: nn.Module) -> Tensor:
        assert self.score is not None
        asked = self.score.asked
        values = {name: getattr(asked, name) for name in asked.__dataclass_fields__}
        return type(asked)(**{**values, "model": model})(self.images)

    def others(self) -> Target:
        """Another class for each picture, drawn; None where there is none."""
        base = self.base
        if base is None or base.target is None or base.logits is None or base.logits.shape[1] < 2:
            return None
        chance = torch.Generator().manual_seed(self.seed + 1)
        step = torch.randint(1, base.logits.shape[1], base.target.shape, generator=chance)
        moved: Tensor = (base.target + step.to(base.target.device)) % base.logits.shape[1]
        return moved


def part_of(
    asked: Asked, steps: int, fill: str, truth: Tensor | None, done: Callable[[], None]
) -> Part:
    """Measure every row on the pictures.

    Args:
        asked: the pictures.
        steps: of insertion and deletion.
        fill: what insertion begins with.
        truth: where the objects are, bool ``(pictures, *space)``, where that is known.
        done: called after each row.
    """
    values: dict[str, dict[str, list[float]]] = {}
    curves: dict[str, dict[str, list[list[float]]]] = {}
    seconds: dict[str, float] = {}
    passes: dict[str, float] = {}
    count = len(asked.images)
    for way in asked.question.ways:
        made = asked.maps(way)
        for row in _with_control(way):
            values[row.key], curves[row.key] = {}, {}
            if made is None:
                continue
            rank = asked.images.ndim - 2
            maps = made[0] if row is way else blurred(made[0], rank)
            seconds[row.key], passes[row.key] = made[1:]
            for measure in asked.question.measures:
                settings = settings_of(measure, steps, fill)
                found = _measured(measure, asked, row, maps, settings, truth)
                if found is None:
                    continue
                values[row.key][measure.name] = found.values.tolist()
                if measure.name in ("insertion", "deletion"):
                    curves[row.key][measure.name] = found.curves["curve"].tolist()
            done()
    even = () if truth is None else tuple(truth.flatten(1).double().mean(1).tolist())
    base, score = asked.base, asked.score
    if base is None or score is None:
        raise InputError(
            "no way to explain worked on these pictures: " + next(iter(asked.failed.values()))
        )
    said = base.logits.argmax(1).tolist() if base.logits is not None else [-1] * count
    return Part(
        asked.numbers, values, curves, seconds, passes, tuple(said),
        tuple(score(asked.images).reshape(count, -1)[:, 0].tolist()), score.passes[0],
        even,
    )  # fmt: skip


def _measured(
    measure: Measure,
    asked: Asked,
    row: Way,
    maps: Tensor,
    settings: Mapping[str, object],
    truth: Tensor | None,
) -> Measured | None:
    """What a metric says of a row's maps; None where it cannot be asked of them."""
    if measure.group == "sanity":
        return None if row.kind == "control" else _sane(measure, asked, row, maps, settings)
    if measure.group == "place":
        return None if truth is None else measure.metric.function(maps, truth, **settings)
    if measure.group == "form":
        return measure.metric.function(maps, **settings)
    return measure.metric.function(asked.score, asked.images, maps, **settings)


def _sane(
    measure: Measure, asked: Asked, row: Way, maps: Tensor, settings: Mapping[str, object]
) -> Measured | None:
    """Maps of other weights, another class, or an image a hair away; blank ones are like none."""
    ask = measure.metric.function
    with suppress(GradCamHooksError):
        if measure.name == "random_logit":
            others = asked.others()
            if others is None:
                return None
            return ask(maps, asked.explained(row, target=others).maps.detach(), **settings)
        if measure.name == "max_sensitivity":
            reach = float(asked.images.amax() - asked.images.amin()) * HAIR
            return ask(
                lambda images: asked.explained(row, images=images).maps.detach(),
                asked.images, maps, radius=reach or HAIR, seed=asked.seed, **settings,
            )  # fmt: skip
        anew = asked.maps_anew(row)
        if measure.name == "emprt" and "all" in anew:
            return ask(maps, anew["all"], **settings)
        if measure.name == "mprt" and anew:
            return ask(maps, list(anew.values()), **settings)
    return None
