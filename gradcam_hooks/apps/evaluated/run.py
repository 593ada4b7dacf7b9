"""The evaluation of the command: files through a network, kept part by part, and the page of it.

A run's plan and its parts lie in the folder of the results, so that one that was stopped goes on
where it was, and gives the same table as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradcam_hooks.apps.batch.faults import faults_told
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.plain import read_plain
from gradcam_hooks.apps.batch.runs import home_of, tell_latest
from gradcam_hooks.apps.evaluated.page import Draw
from gradcam_hooks.apps.evaluated.write import FILES, write_evaluation
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.evaluating.asking import Part
from gradcam_hooks.evaluating.budget import STEPS, BudgetSpec, Plan
from gradcam_hooks.evaluating.evaluation import Evaluation
from gradcam_hooks.evaluating.run import Bench, Progress
from gradcam_hooks.evaluating.telling import told_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.version import version

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.given import PrepareSpec

__all__ = ["evaluate_files"]

_PLAN = "evaluate/plan.json"


def evaluate_files(
    loaded: LoadedModel,
    paths: Sequence[Path],
    out: Path,
    *,
    methods: Sequence[object] | None = None,
    layers: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    boxes: Path | None = None,
    masks: Path | None = None,
    preprocess: PrepareSpec | None = None,
    budget: BudgetSpec = None,
    batch_size: int = 4,
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Evaluation, list[Path]]:
    """Evaluate files, and write the page, the JSON and the table; see `gradcam_hooks.evaluate`.

    Args:
        loaded: the network.
        paths: the pictures.
        out: the folder that gets the files; a run with other options gets one of its own in it.
        methods: as for `evaluate`.
        layers: as for `evaluate`.
        metrics: as for `evaluate`.
        boxes: a COCO or Pascal VOC file, or a folder of these.
        masks: a folder of PNGs.
        preprocess: as for `evaluate`.
        budget: as for `evaluate`.
        batch_size: as for `evaluate`.
        seed: as for `evaluate`.
        command: the command line, where there was one.
        progress: as for `evaluate`.

    Returns:
        The evaluation, and the files, the page first.

    Raises:
        GradCamHooksError: as `evaluate`; and where another's file is in the way.
        OSError: the results cannot be written.
    """
    with faults_told(loaded, paths, preprocess):
        bench = Bench.of(
            loaded, list(paths), methods=methods, layers=layers, metrics=metrics, target=None,
            boxes=boxes, masks=masks, labels=None, preprocess=preprocess, batch_size=batch_size,
            seed=seed,
        )  # fmt: skip
    print_of = _fingerprint(bench, loaded, paths, boxes or masks, preprocess, budget)
    with faults_told(loaded, paths, preprocess), home_of(out, print_of) as folder:
        folder.claim([*FILES, _PLAN], run=print_of)
        plan, left_out = _planned(bench, folder, budget)
        bench = bench.without(left_out)
        done = list(
            bench.parts(plan, progress, _known(folder, bench), lambda part: _keep(part, folder))
        )
        found = told_of(bench.question, plan, done, left_out, bench.labels, bench.pictures.names)
        terms = [
            ("Network", loaded.name),
            ("Weights", loaded.weights),
            ("Pictures", plan.text),
            ("Insertion begins with", "a blur" if plan.fill == "blur" else "the mean colour"),
            ("Seed", str(seed)),
            ("Version", version()),
            *([("Command", command)] if command else []),
        ]
        files = write_evaluation(found, folder, _draw(loaded, paths, found, preprocess), terms)
        tell_latest(out, folder, files[0])
    return found, files


def _fingerprint(
    bench: Bench,
    loaded: LoadedModel,
    paths: Sequence[Path],
    places: Path | None,
    preprocess: PrepareSpec | None,
    budget: BudgetSpec,
) -> str:
    """Sixteen hexadecimal digits that change with everything that decides the table."""
    question = bench.question
    marked = sorted(places.rglob("*")) if places is not None and places.is_dir() else [places]
    settings = {
        "job": Job(loaded, preprocess=preprocess).fingerprint(),
        "ways": [(way.key, way.method.home, repr(dict(way.options))) for way in question.ways],
        "measures": [one.name for one in question.measures],
        "pictures": [_stamp(path) for path in paths],
        "places": [_stamp(path) for path in marked if path is not None],
        "budget": str(budget),
        "batch_size": bench.batch_size,
        "seed": question.seed,
    }
    return hashlib.sha256(json.dumps(["evaluate", settings]).encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class _Planned:
    """A plan as it lies in its file."""

    numbers: tuple[int, ...]
    steps: int
    fill: str
    text: str
    left_out: dict[str, str]

    def suits(self, bench: Bench) -> bool:
        """Whether it can be one of these pictures: somebody may have edited it."""
        ways = {way.key: way.kind for way in bench.question.ways}
        gone = self.left_out.keys()
        return (
            self.steps in STEPS
            and self.fill in ("blur", "mean")
            and bool(self.numbers)
            and set(self.numbers) <= set(range(bench.pictures.count))
            and gone <= {*ways, "road"}
            and any(kind == "method" and key not in gone for key, kind in ways.items())
        )


def _planned(bench: Bench, folder: Folder, budget: BudgetSpec) -> tuple[Plan, dict[str, str]]:
    """The plan that the folder keeps, or a new one, which it keeps then."""
    kept = _kept(folder, bench)
    if kept is None:
        plan, left_out = bench.plan(budget)
        kept = _Planned(plan.numbers, plan.steps, plan.fill, plan.text, left_out)
        with folder.write(_PLAN) as file:
            file.write_text(json.dumps(asdict(kept)), encoding="ascii")
    return Plan(kept.numbers, kept.steps, kept.fill, kept.text), kept.left_out


def _kept(folder: Folder, bench: Bench) -> _Planned | None:
    """The plan that the folder keeps; None where there is none, or none of these pictures."""
    try:
        kept = read_plain(_Planned, (folder.path / _PLAN).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return kept if kept.suits(bench) else None


def _known(folder: Folder, bench: Bench) -> Mapping[tuple[int, ...], Part]:
    """The parts that were measured before; one that cannot be read is measured again."""
    found, rows = {}, {row.key for row in bench.question.rows}
    for name in sorted(folder.made()):
        if name.startswith("evaluate/part-"):
            try:
                part = Part.of(json.loads((folder.path / name).read_text(encoding="ascii")))
            except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
                    RecursionError):  # fmt: skip
                continue
            if part.values.keys() == part.curves.keys() == rows:
                found[part.numbers] = part
    return found


def _keep(part: Part, folder: Folder) -> None:
    with folder.write(f"evaluate/part-{part.numbers[0]:06d}.json") as file:
        file.write_text(json.dumps(part.plain(), allow_nan=False), encoding="ascii")


def _draw(
    loaded: LoadedModel,
    paths: Sequence[Path],
    found: Evaluation,
    preprocess: PrepareSpec | None,
) -> Draw:
    """What draws a picture by its number, with the map of the way that is shown."""
    way = found.shown

    def draw(number: int) -> Image.Image | None:
        try:
            with way.explainer(loaded, preprocess=preprocess) as explain:
                return explain(paths[number]).overlay()
        except (GradCamHooksError, OSError):  # it was there when it was measured
            return None

    return draw
