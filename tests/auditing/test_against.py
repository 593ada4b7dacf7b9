"""Two networks on the same pictures: what sets them apart, against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.apps.audited import write_audit
from gradcam_hooks.apps.audited.drawing import Drawing
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.auditing.against import overlaps
from tests.support.shortcuts import Marked, pictures

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = [number % 3 for number in range(60)]
MARKS = [number for number in range(0, 60, 5) if COLOURS[number] != 2]
CALLED = [2 if number in MARKS else colour for number, colour in enumerate(COLOURS)]


def test_an_overlap_is_the_sum_of_the_roots_of_products() -> None:
    one = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 0.5, 0.5], [0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    assert overlaps(one, other)[:2].tolist() == pytest.approx([0.5, 0.5])
    assert math.isnan(overlaps(one, other)[2])


def test_what_the_second_gains_by_a_shortcut_is_told_and_proved(tmp_path: Path) -> None:
    """The truths say what the mark says: one that obeys it is right oftener, by the mark alone."""
    images = pictures(COLOURS, marked=MARKS, mark_at=(28, 0))
    found = gh.audit(
        Marked(obeys=0), images, layer="features", truths=CALLED, against=Marked(), trials=60
    )
    told = found.against
    assert told is not None
    assert found.suspects == ()
    assert told.audit.suspects
    assert set(told.extra) == set(MARKS)
    assert told.lost == ()
    assert set(told.elsewhere) == set(MARKS)  # elsewhere they look at the same block
    assert told.suspect == len(MARKS)
    assert told.place.argmax() == 56  # the lower left of 8 x 8 cells
    assert told.proof.covered == 1
    assert told.proof.covered_elsewhere == 0
    assert told.proof.pasted == 1
    same = [one for number, one in enumerate(told.overlaps) if number not in MARKS]
    assert min(same) > 0.95
    assert "There the first looks at no one place, the second at the lower left." in told.text
    assert f"The second's {len(MARKS)} extra right answers look at the lower left" in told.text
    write_audit(found, Folder(tmp_path), Drawing(lambda number: None))
    data = json.loads((tmp_path / "audit.json").read_text())["against"]
    assert data["extra"] == list(told.extra)
    assert data["second"]["strategies"][0]["suspect"] is True
    rows = (tmp_path / "audit.csv").read_text().splitlines()
    assert rows[0].endswith("answer of the second,right of the second,overlap")
    assert rows[1 + MARKS[0]].split(",")[-2] == "true"
    assert "Against the second network" in (tmp_path / "audit.html").read_text()


def test_a_network_beside_itself_gains_nothing() -> None:
    images = pictures(COLOURS[:24])
    found = gh.audit(Marked(), images, layer="features", against=Marked(), trials=8)
    told = found.against
    assert told is not None
    assert told.extra == told.elsewhere == told.lost == ()
    assert min(told.overlaps) == pytest.approx(1, abs=1e-6)
    roots = found.places.double().sqrt()
    pairs = [float(roots[i] @ roots[j]) for i in range(24) for j in range(24) if i != j]
    assert told.by_chance == pytest.approx(sum(pairs) / len(pairs))
    assert "calls 0 of 24 pictures otherwise" in told.text
