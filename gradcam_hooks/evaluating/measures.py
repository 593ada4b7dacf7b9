"""What is measured of each way to explain: metrics of `gh.metrics`, and with which settings.

Faithfulness ranks, and never by one metric alone. Sanity is a gate: what it is blind to would rank
a blob in the centre first. How concentrated a map is, and whether it lies on a known object, is
told beside them. Knows metrics' cards; no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gradcam_hooks.errors import OptionError
from gradcam_hooks.metrics import Metric, metric_of

__all__ = ["SANITY", "Group", "Measure", "measures_of", "settings_of"]

Group: TypeAlias = Literal["faithfulness", "sanity", "form", "place"]

SANITY = ("mprt", "emprt", "random_logit", "max_sensitivity")
"""What asks whether a map hangs on the weights, on the class, and stays under a hair of noise."""

_FAITHFUL = ("insertion", "deletion", "road", "average_drop", "idsds", "gain")
_PLACE = ("energy_pointing_game", "pointing_game", "relevance_rank_accuracy", "iou")
_GAPS = {
    "faithfulness": ("score", "images", "maps"),
    "form": ("maps",),
    "place": ("maps", "masks"),
}

_SHARES: Mapping[int, tuple[float, ...]] = {
    8: (0.2, 0.5, 0.8),
    16: (0.2, 0.5, 0.8),
    32: (0.1, 0.3, 0.5, 0.7, 0.9),
}
"""Of ROAD, by how many steps insertion and deletion have."""


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric, and what it is for.

    Attributes:
        metric: its card.
        group: faithfulness, sanity, the map's form, or its place beside a known object.
    """

    metric: Metric
    group: Group

    @property
    def name(self) -> str:
        """Its name in `METRICS`."""
        return self.metric.name

    @property
    def ranks(self) -> bool:
        """Whether it counts: it watches the network, and prefers the right map on a known truth."""
        return self.group == "faithfulness" and not self.metric.blind

    def passes(self, steps: int, settings: Mapping[str, object]) -> tuple[int, int]:
        """Passes of each map, and those that all maps of a picture share."""
        given = {**self.metric.settings, **settings}
        samples = given.get("samples")
        many = samples if isinstance(samples, int) else 0
        if self.name in ("insertion", "deletion"):
            return steps - 1, 2
        if self.name == "road":
            return 2 * len(given["shares"]), 0  # type: ignore[arg-type]
        if self.name == "idsds":
            return 0, int(given["patches"]) ** 2  # type: ignore[call-overload]
        if self.name == "f_fidelity":
            return 2 * many * len(given["shares"]), 0  # type: ignore[arg-type]
        return (0, many) if self.name == "infidelity" else (1, 0)


def measures_of(
    given: str | Callable[..., object] | Iterable[object] | None, *, located: bool
) -> list[Measure]:
    """The metrics that are meant, each once.

    Args:
        given: names, functions of `gh.metrics`, or several of these; None for the usual ones.
        located: whether masks or boxes of the objects are known.

    Raises:
        OptionError: there is no such metric, or it needs what is not there.
    """
    if given is None:
        names: list[object] = [*_FAITHFUL, *SANITY, "sparseness", *(_PLACE if located else ())]
    elif isinstance(given, str) or callable(given):
        names = [given]
    else:
        names = list(given)
    found = {}
    for one in names:
        row = metric_of(one)  # type: ignore[arg-type]  # it says what it takes
        found[row.name] = Measure(row, _group(row, located=located))
    return list(found.values())


def _group(row: Metric, *, located: bool) -> Group:
    if row.name in SANITY:
        return "sanity"
    for group, takes in _GAPS.items():
        if row.takes == takes:
            if group == "place" and not located:
                raise OptionError(
                    f"{row.title} asks where the object is. Pass boxes= or masks= of the pictures, "
                    "or leave it out."
                )
            return group  # type: ignore[return-value]
    raise OptionError(
        f"{row.title} takes ({', '.join(row.takes)}), which an evaluation of many methods does not "
        f"have; call gradcam_hooks.metrics.{row.name} for it. Here are "
        f"{', '.join((*_FAITHFUL, 'increase', 'infidelity', 'f_fidelity', *SANITY))}, sparseness "
        f"and complexity, and where boxes or masks are known {', '.join(_PLACE)}."
    )


def settings_of(measure: Measure, steps: int, fill: str) -> dict[str, object]:
    """A metric's settings, where they are not its defaults.

    Args:
        measure: the metric.
        steps: of insertion and deletion.
        fill: what insertion begins with.
    """
    name = measure.name
    if name == "insertion":
        return {"steps": steps, "fill": fill}
    if name == "deletion":
        return {"steps": steps}
    if name == "road":
        return {"shares": _SHARES[steps]}
    if name in ("mprt", "random_logit"):
        return {"likeness": "pearson"}
    return {"samples": 2} if name == "max_sensitivity" else dict(measure.metric.quick)
