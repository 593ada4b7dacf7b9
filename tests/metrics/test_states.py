"""States that merge, results that join, cards that are whole, and torchmetrics around them."""

from __future__ import annotations

import inspect
import math
import pickle

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics import METRICS, Found, Measured, State
from scripts import metrics_doc
from tests.support.nets import gap_linear, images

pytestmark = pytest.mark.usefixtures("one_thread")

NET, X = gap_linear().eval(), images(4)
MAPS = torch.rand(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
BOXES = [[(0, 0, 4, 4)], [(2, 2, 8, 8)], [(0, 0, 8, 3)], [(5, 1, 8, 8)]]


def test_what_is_merged_is_what_one_call_finds() -> None:
    whole = metrics.deletion(metrics.scored(NET, X, 1), X, MAPS, steps=4)
    first, second = State("deletion", steps=4), State("Deletion", steps=4)
    for state, part in ((first, slice(0, 3)), (second, slice(3, 4))):
        state.update(metrics.scored(NET, X[part], 1), X[part], MAPS[part])
    merged = pickle.loads(pickle.dumps(first)).merge(second).compute()
    assert torch.allclose(merged.values, whole.values)
    assert torch.allclose(merged.curves["curve"], whole.curves["curve"])
    assert merged.stderr == pytest.approx(float(whole.values.std()) / 2)
    assert repr(merged) == repr(whole)
    first.reset()
    with pytest.raises(gh.InputError, match="nothing was measured yet"):
        first.compute()
    with pytest.raises(gh.InputError, match="cannot be merged"):
        first.merge(State("deletion", steps=5))
    with pytest.raises(gh.OptionError, match="no setting 'step'; its settings are fill, steps"):
        State("deletion", step=4)


def test_the_level_is_chosen_for_the_whole_set() -> None:
    maps = torch.tensor([[0.0, 0.2, 1.0, 0.0]] * 3)
    boxes = [[(1, 3)], [(2, 3)], [(2, 3)]]  # the first fits at low levels, the others at high ones
    whole = metrics.max_box_acc(maps, boxes, overlap=1, levels=10)
    assert whole.values.tolist() == [0, 1, 1]
    assert whole.curve().tolist() == pytest.approx([1 / 3] * 2 + [2 / 3] * 8)
    state = State("max_box_acc", overlap=1, levels=10)
    for at in range(3):
        state.update(maps[at : at + 1], boxes[at : at + 1])
    assert [float(part.values) for part in state.parts] == [1, 1, 1]  # each at its own
    assert torch.equal(state.compute().values, whole.values)


def test_a_mean_counts_each_image_once() -> None:
    found = Measured("iou", torch.tensor([[1.0, math.nan], [0.0, 0.0], [math.nan] * 2]), True)
    assert (found.count, found.mean) == (2, 0.5)
    assert found.stderr == pytest.approx(0.5)
    with pytest.raises(gh.InputError, match=r"iou has no curve ''; it has none"):
        found.curve()


def test_every_card_is_whole() -> None:
    for name, row in METRICS.items():
        assert row.name == name
        assert getattr(metrics, name) is row.function
        assert ">>>" in (row.function.__doc__ or ""), name
        for words in (row.formula, row.claims, row.assumes, row.gamed):
            assert words.endswith((".", ",", ")")), name
        assert set(row.quick) <= set(row.settings)
        kinds = {one.kind for one in inspect.signature(row.function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert set(METRICS) <= set(metrics.__all__)


def test_the_page_is_current() -> None:
    assert metrics_doc.PAGE.read_text(encoding="utf-8") == metrics_doc.page()


def test_the_page_s_example_runs() -> None:
    example = metrics_doc.page().partition("```python\n")[2].partition("```")[0]
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(example, "docs/metrics.md", "exec"), names)
    found = names["found"]
    assert isinstance(found, Measured)
    assert found.count == 2


def test_a_metric_of_one_s_own() -> None:
    before = dict(METRICS)
    try:

        @metrics.metric(
            title="Peak",
            paper="no paper",
            higher_is_better=True,
            claims="High.",
            assumes="Nothing.",
            gamed="By scale.",
        )
        def peak(maps: torch.Tensor) -> Found:
            """Peak: the largest value."""
            return Found(maps.flatten(1).amax(1))

        assert peak(MAPS).metric == "peak"
        assert metrics.metric_of("Peak").formula == "the largest value."
        assert State("peak").update(MAPS).count == 4
    finally:
        from gradcam_hooks.metrics import registry

        registry._ROWS.clear()
        registry._ROWS.update(before)


def test_no_metric_of_that_name() -> None:
    with pytest.raises(gh.OptionError, match="did you mean 'average_drop'"):
        metrics.metric_of("avgdrop")
    with pytest.raises(gh.OptionError, match="is no metric"):
        metrics.metric_of(print)


def test_a_collection_of_torchmetrics_is_fed_once() -> None:
    from torchmetrics import MetricCollection

    names = ("deletion", "sparseness", "iou", "max_box_acc")
    made = {name: metrics.torchmetric(name) for name in names}
    made["coarse"] = metrics.torchmetric("deletion", steps=3)
    collection = MetricCollection(made)
    masks = metrics.masks_of(BOXES, (8, 8))
    for part in (slice(0, 2), slice(2, 4)):
        score = metrics.scored(NET, X[part], 1)
        given = {"images": X[part], "maps": MAPS[part], "masks": masks[part]}
        collection.update(score=score, boxes=BOXES[part], **given)
    found = {name: float(value) for name, value in collection.compute().items()}
    score = metrics.scored(NET, X, 1)
    assert found == pytest.approx(
        {
            "deletion": metrics.deletion(score, X, MAPS).mean,
            "coarse": metrics.deletion(score, X, MAPS, steps=3).mean,
            "sparseness": metrics.sparseness(MAPS).mean,
            "iou": metrics.iou(MAPS, masks).mean,
            "max_box_acc": metrics.max_box_acc(MAPS, BOXES).mean,
        }
    )
    assert made["deletion"].higher_is_better is False
    with pytest.raises(gh.OptionError, match="'score' is missing"):
        made["deletion"].update(maps=MAPS)
    again = pickle.loads(pickle.dumps(made["iou"]))
    assert float(again.compute()) == found["iou"]


def test_equal_numbers_of_two_metrics_share_no_state() -> None:
    from torchmetrics import MetricCollection

    # On the first image both are 1; torchmetrics takes metrics of equal states for one.
    made = {
        name: metrics.torchmetric(name) for name in ("pointing_game", "relevance_rank_accuracy")
    }
    collection = MetricCollection(made)
    mask = torch.tensor([[True, True, False]])
    collection.update(maps=torch.tensor([[3.0, 2.0, 0.0]]), masks=mask)
    collection.update(maps=torch.tensor([[3.0, 0.0, 2.0]]), masks=mask)
    found = {name: float(value) for name, value in collection.compute().items()}
    assert found == {"pointing_game": 1.0, "relevance_rank_accuracy": 0.75}
