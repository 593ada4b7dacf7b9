"""The evaluation: pictures, ways to explain and metrics brought together, part by part.

A part is some pictures, measured in every way and kept; so a run can be stopped and taken up
again. Here the room's files meet.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradcam_hooks.auditing.objects import Objects, objects_of
from gradcam_hooks.auditing.pictures import Pictures, not_finite, pictures_of
from gradcam_hooks.checks import check_count, check_seed
from gradcam_hooks.errors import InputError
from gradcam_hooks.evaluating.asking import Asked, Part, Question, part_of
from gradcam_hooks.evaluating.budget import (
    MANY,
    STEPS,
    BudgetSpec,
    Cost,
    Plan,
    budget_of,
    parts,
    planned,
)
from gradcam_hooks.evaluating.evaluation import Evaluation
from gradcam_hooks.evaluating.measures import measures_of, settings_of
from gradcam_hooks.evaluating.telling import told_of
from gradcam_hooks.evaluating.ways import MethodsSpec, layers_of, methods_of, ways_of
from gradcam_hooks.images.given import Prepare, PrepareSpec, as_prepare
from gradcam_hooks.maps import resize
from gradcam_hooks.metrics.fills import filled
from gradcam_hooks.metrics.imputing import imputed
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.labels import labels_of
from gradcam_hooks.models.presets import own_preprocess
from gradcam_hooks.network.modules import LayerSpec, unwrap
from gradcam_hooks.targets import Target
from gradcam_hooks.trust.evidence import FLAT

__all__ = ["Bench", "Progress", "evaluate"]

Progress = Callable[[int, int], None]
"""Told how many rows of parts are done, and of how many."""

_TRIED = 2
"""Pictures on which everything is tried first."""


def evaluate(
    model: nn.Module | LoadedModel,
    images: object,
    /,
    *,
    methods: MethodsSpec = None,
    layers: LayerSpec | None = None,
    metrics: str | Callable[..., object] | Iterable[object] | None = None,
    target: Target = None,
    boxes: object = None,
    masks: object = None,
    labels: Sequence[str] | None = None,
    preprocess: PrepareSpec | None = None,
    budget: BudgetSpec = None,
    batch_size: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Which layer and method to take for a network, and whether to believe their maps at all.

    Every method at every layer is judged by several metrics of faithfulness on the same pictures,
    beside baselines that explain nothing and each method's own map under a blur. What is
    recommended ranks best over all of them together, beats every baseline beyond noise, and
    changes where the network's weights are drawn anew. No truth is needed; where boxes or masks of
    the objects are given, it is told as well whether the maps lie on them.

    Args:
        model: any network that takes pictures, or what `load_model` gave.
        images: a tensor ``(pictures, channels, height, width)`` ready for the network; a folder,
            or a list of pictures; or a data set of tensors or pictures, or of pairs of one and
            its class.
        methods: names, families such as ``"gradient"``, classes, functions ``(activation,
            gradient) -> map``, or several of these; by default five that are quick.
        layers: names, globs or modules, each compared by itself; by default the one that
            ``"auto"`` takes and the last of the next finer resolution.
        metrics: names of `gh.metrics.METRICS`; by default insertion, deletion, ROAD, Average Drop
            and IDSDS, which rank; Gain, four of sanity and sparseness, which are told.
        target: what is explained; by default the class that the network says of each picture.
        boxes: of the objects: a COCO or Pascal VOC file or a folder of these; a dict by the
            files' names, or a list, of lists of ``(left, top, right, bottom)`` in the picture.
        masks: of the objects: a folder of PNGs named as the pictures; a dict by the files' names,
            or one for each picture.
        labels: the classes' names.
        preprocess: how pictures become inputs, as for `Explainer`.
        budget: seconds, or ``"5m"``, or ``"2000 passes"``, which choose how many pictures and
            steps are afforded; by default all pictures. A budget of seconds may choose otherwise
            the next time; one of passes never.
        batch_size: pictures that are measured together.
        seed: of all that is drawn: the same seed gives the same numbers.
        progress: told how much is done, and of how much.
        options: `Explainer`'s, for every method.

    Returns:
        An `Evaluation`: its ``.recommendation`` is a sentence, its ``.table`` a dict for each row.

    Raises:
        InputError: there are no pictures, or no method works on them.
        OptionError, MethodNotFound, LayerNotFound: what was named is not there.
        GradCamHooksError: as `explain` raises.
    """
    bench = Bench.of(
        model, images, methods=methods, layers=layers, metrics=metrics, target=target, boxes=boxes,
        masks=masks, labels=labels, preprocess=preprocess, batch_size=batch_size, seed=seed,
        options=options,
    )  # fmt: skip
    plan, left_out = bench.plan(budget)
    bench = bench.without(left_out)
    done = list(bench.parts(plan, progress))
    return told_of(bench.question, plan, done, left_out, bench.labels, bench.pictures.names)


@dataclass(frozen=True, eq=False)
class Bench:
    """Pictures, and what is asked of them.

    Attributes:
        question: what is asked.
        pictures: of which.
        objects: where the objects are, where that is known.
        labels: the classes' names, where they are known.
        batch_size: pictures of a part.
    """

    question: Question
    pictures: Pictures
    objects: Objects | None = None
    labels: tuple[str, ...] | None = None
    batch_size: int = 4

    @classmethod
    def of(
        cls,
        model: nn.Module | LoadedModel,
        images: object,
        *,
        methods: MethodsSpec,
        layers: LayerSpec | None,
        metrics: Any,
        target: Target,
        boxes: object,
        masks: object,
        labels: Sequence[str] | None,
        preprocess: PrepareSpec | None,
        batch_size: int,
        seed: int,
        options: Mapping[str, Any] = {},
    ) -> Bench:
        """All that `evaluate` takes, checked and read; no picture is explained yet."""
        check_count(batch_size, "batch_size")
        check_seed(seed)
        rows = methods_of(methods)
        measures = measures_of(metrics, located=boxes is not None or masks is not None)
        if isinstance(model, LoadedModel):
            labels, preprocess = labels or model.labels, preprocess or model.preprocess
            model = model.model
        if not isinstance(model, nn.Module):
            raise InputError(f"the model must be a torch.nn.Module, not {type(model).__name__}.")
        network = unwrap(model)
        prepare = None if preprocess is None else as_prepare(preprocess)

        def made_ready() -> Prepare:
            return prepare or own_preprocess(network)[0]

        pictures = pictures_of(images, made_ready)
        names = tuple(labels or pictures.classes or labels_of(network) or ()) or None
        objects = objects_of(boxes, masks, pictures, images, made_ready)
        like = next(network.parameters(), torch.empty(0)).detach()
        where = layers_of(network, pictures.inputs([0]).to(like), layers)
        given = {**options, "labels": names} if names else dict(options)
        question = Question(network, ways_of(rows, where), measures, target, given, seed)
        return cls(question, pictures, objects, names, batch_size)

    def plan(self, budget: BudgetSpec) -> tuple[Plan, dict[str, str]]:
        """What is measured, and what is left out, with the reason: ways that do not work, and ROAD
        where filling its holes would take the budget.

        Everything is tried on two pictures first: what it costs, and whether a blur takes what
        the score needs, so that insertion can begin with it.

        Raises:
            GradCamHooksError: no method works.
        """
        limit, start = budget_of(budget), time.perf_counter()
        asked = self._asked(range(min(_TRIED, self.pictures.count)))
        seconds: dict[str, float] = {}
        passes: dict[str, float] = {}
        for way in self.question.ways:
            made = asked.maps(way)
            if made is not None:
                seconds[way.key], passes[way.key] = made[1:]
        if not any(way.key in seconds for way in self.question.ways if way.kind == "method"):
            raise InputError(
                "no method works on these pictures; of "
                + "; of ".join(f"{key}: {why}" for key, why in asked.failed.items())
            )
        assert asked.base is not None
        assert asked.score is not None
        if not bool(asked.base.scores.isfinite().any()):
            raise InputError(not_finite(self.pictures, asked.numbers))
        left_out = {
            way.key: asked.failed[way.key]
            for way in self.question.ways
            if way.key in asked.failed and way.kind == "method"
        }
        known = self.without(left_out)
        scoring = time.perf_counter()
        fill = _fill(asked)
        scoring = (time.perf_counter() - scoring) / max(1, asked.score.passes[0])
        count, seed = self.pictures.count, self.question.seed
        if limit.unit == "passes":
            spent = sum(passes.values()) * len(asked.images)
            return planned(limit, spent, known.cost(passes, 1.0), count, fill, seed), left_out
        hole = known.imputing(asked)
        cost = known.cost(seconds, scoring, hole)
        spent = time.perf_counter() - start
        plan = planned(limit, spent, cost, count, fill, seed)
        if hole > scoring and len(plan.numbers) < min(count, MANY):
            left_out["road"] = (
                f"filling its holes takes {hole:.2g} s for each picture, beside {scoring:.2g} s "
                "for a pass, and would leave too few pictures within the budget."
            )
            cost = known.without(left_out).cost(seconds, scoring)
            plan = planned(limit, spent, cost, count, fill, seed)
        return plan, left_out

    def imputing(self, asked: Asked) -> float:
        """The seconds that ROAD takes to fill a picture's holes; 0 where it is not asked."""
        if not any(one.name == "road" for one in self.question.measures):
            return 0.0
        image = asked.images[:1].float()
        drawn = torch.rand(1, *[7] * (image.ndim - 2), generator=torch.Generator().manual_seed(0))
        known = resize(drawn, image.shape[2:]).to(image.device) > 0.5
        start = time.perf_counter()
        imputed(image, known)
        return time.perf_counter() - start

    def cost(self, each: Mapping[str, float], scoring: float, hole: float = 0.0) -> Cost:
        """What a picture costs, of what each way's maps, a score, and filling a hole do."""
        asked = {one.name for one in self.question.measures}
        again = 1 + 2 * bool(asked & {"mprt", "emprt"}) + ("random_logit" in asked)
        again += 2 * ("max_sensitivity" in asked)
        fixed = again * sum(each.get(way.key, 0.0) for way in self.question.ways)
        rows = len(self.question.rows)
        of_steps = {}
        for steps in STEPS:
            own, shared, filling = 0, 1, 0.0
            for measure in self.question.measures:
                if measure.group == "faithfulness":
                    some = measure.passes(steps, settings_of(measure, steps, "blur"))
                    own, shared = own + some[0], shared + some[1]
                    filling += hole * some[0] if measure.name == "road" else 0.0
            of_steps[steps] = scoring * (own * rows + shared) + filling * rows
        return Cost(fixed, of_steps)

    def without(self, left_out: Iterable[str]) -> Bench:
        """The same without some methods and metrics; baselines stay, at a layer that works."""
        gone = set(left_out)
        known = self.question.ways
        ways = [way for way in known if way.key not in gone or way.kind == "baseline"]
        layer = next((way.layer for way in ways if way.kind == "method" and way.layer), "")
        ways = [replace(way, layer=layer) if way.kind == "baseline" else way for way in ways]
        measures = [one for one in self.question.measures if one.name not in gone]
        return replace(self, question=replace(self.question, ways=ways, measures=measures))

    def parts(
        self,
        plan: Plan,
        progress: Progress | None = None,
        known: Mapping[tuple[int, ...], Part] | None = None,
        keep: Callable[[Part], None] | None = None,
    ) -> Iterable[Part]:
        """Measure part after part.

        Args:
            plan: what is measured.
            progress: told how many rows of parts are done, and of how many.
            known: parts that were measured before, by their pictures.
            keep: told each new part.
        """
        several = parts(plan.numbers, self.batch_size)
        each, done = len(self.question.rows), [0]
        whole = each * len(several)

        def count(rows: int = 1) -> None:
            done[0] += rows
            if progress is not None:
                progress(done[0], whole)

        for numbers in several:
            part = (known or {}).get(numbers)
            if part is None:
                asked = self._asked(numbers)
                truth = self._truth(asked)
                part = part_of(asked, plan.steps, plan.fill, truth, count)
                if keep is not None:
                    keep(part)
            else:
                count(each)
            yield part

    def _asked(self, numbers: Sequence[int]) -> Asked:
        return Asked(self.question, self.pictures.inputs(list(numbers)), list(numbers))

    def _truth(self, asked: Asked) -> Tensor | None:
        if self.objects is None:
            return None
        height, width = asked.images.shape[-2:]
        return self.objects(asked.numbers, (height, width)).to(asked.images.device)


def _fill(asked: Asked) -> str:
    """What insertion begins with: a blur, or where that leaves the score as it is the mean."""
    assert asked.score is not None
    whole = asked.score(asked.images)
    fell = {
        fill: float(((whole - asked.score(filled(asked.images, fill))) / whole.abs()).mean())
        for fill in ("blur", "mean")
    }
    blur = fell["blur"] if math.isfinite(fell["blur"]) else 0.0
    return "mean" if blur < FLAT and fell["mean"] > blur else "blur"
