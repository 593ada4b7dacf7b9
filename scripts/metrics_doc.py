"""Writes docs/metrics.md, made of `gradcam_hooks.metrics.METRICS`: scripts/metrics_doc.py

A test says when it is out of date. Run it with the project's own Python: .venv/bin/python.
"""

from __future__ import annotations

from pathlib import Path

from gradcam_hooks.metrics import METRICS, Metric

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"

_HEAD = """\
# The metrics

Made by `scripts/metrics_doc.py` from `gradcam_hooks.metrics.METRICS`.

Functions of a score, images and maps, or of maps alone; never of an explainer. A score is any
function from a batch of images to a number each; `scored` makes one of a model and a target.

```python
import torch
import gradcam_hooks as gh

model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(), torch.nn.Linear(8, 5),
)
images = torch.rand(2, 3, 32, 32)

result = gh.explain(model, images, "1")
score = gh.metrics.scored(model, images, gh.Probability())
found = gh.metrics.insertion(score, images, result.maps, steps=16)
print(found)  # mean, standard error, direction
found.values  # a number for each sample, NaN where the metric has no meaning
found.curve()  # the mean curve, at the shares found.at
```

Maps are `(batch, *space)`, or `(batch, targets, *space)` with as many scores for each image, in
one, two and three dimensions; maps of another size than the images' are resized, linear. Where a
metric is given maps alone, or masks, `rank=` says how many axes are space if there is an axis of
targets.
Raw maps, `result.raw`, keep their sign, which infidelity and IDSDS count. Everything that is drawn
is drawn from `seed=`.

A score that `scored` made is asked of many versions of an image at once, as many as fit in memory,
under `inference_mode`. A function of your own is always given the whole batch in its order, because
it may know a class for each image. For `Segment` and `Box` the score is that of the region or the
box, so what watches a score has its meaning; those that ask for probabilities have none there.

`State` is fed batch by batch and merged across processes; `torchmetric(name)` is a metric for
torchmetrics' `MetricCollection`, and `explain_func` is what Quantus asks for by that name.
`@gh.metrics.metric(...)` above a function that returns `Found` makes a metric of it.

**No metric ranks methods by itself.** They contradict each other, and each can be gamed; its card
says how. Put baselines into every table: `random`, `center`, `sobel`, `fakecam`, and the method's
own map blurred. On a planted truth, a network whose reasons are known, a metric should prefer the
right map to a wrong one, and stay put under noise that changes nothing: that is a test, and what
fails the first says so under *blind*, what fails the second under *restless*.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _table(), *map(_section, METRICS.values())])


def _table() -> str:
    lines = ["| metric | takes | better | prefers the right map |", "| --- | --- | --- | --- |"]
    for row in METRICS.values():
        takes = ", ".join(f"`{one}`" for one in row.takes)
        better = "higher" if row.higher_is_better else "lower"
        sees = "no" if row.blind else "yes"
        lines.append(f"| [{row.title}](#{_anchor(row)}) | {takes} | {better} | {sees} |")
    return "\n".join([*lines, ""])


def _anchor(row: Metric) -> str:
    return row.title.lower().replace(" ", "-")


def _section(row: Metric) -> str:
    settings = ", ".join(f"`{name}={value!r}`" for name, value in row.settings.items())
    formula = f"{row.formula[:1].upper()}{row.formula[1:]}"
    lines = [
        f"## {row.title}",
        "",
        f"`{row.name}({', '.join(row.takes)})`. {formula}",
        "",
        f"- paper: {row.paper}",
        f"- better: {'higher' if row.higher_is_better else 'lower'}",
        f"- claims: {row.claims}",
        f"- assumes: {row.assumes}",
        f"- gamed: {row.gamed}",
        *([f"- blind: {row.blind}"] if row.blind else []),
        *([f"- restless: {row.restless}"] if row.restless else []),
        *([f"- settings: {settings}"] if settings else []),
        *([f"- elsewhere: {row.elsewhere}"] if row.elsewhere else []),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
