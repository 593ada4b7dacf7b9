"""How maps are drawn: one list of options, the same wherever a map is drawn."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.results.drawing import Drawing
from gradcam_hooks.watch import add_explanation, pixels
from tests.support.nets import gap_linear, images

OPTIONS = {one.name: one.default for one in fields(gh.Style)}


@pytest.fixture(scope="module")
def result() -> gh.Explanation:
    return gh.explain(gap_linear(), images(1, (48, 64)), "1", target=2)


def test_the_keywords_are_the_fields() -> None:
    assert set(Drawing.__annotations__) == set(OPTIONS)


@pytest.mark.parametrize(
    "function", [gh.Explanation.overlay, gh.Explanation.save, pixels, add_explanation]
)
def test_help_shows_every_option_and_its_default(function: Callable[..., object]) -> None:
    shown = inspect.signature(function).parameters
    assert {name: shown[name].default for name in OPTIONS} == OPTIONS


def test_a_style_and_its_keywords_draw_the_same(result: gh.Explanation, tmp_path: Path) -> None:
    style = gh.Style(alpha=0.8, colormap="jet", boxes=True, method="otsu", caption=True)
    expected = np.asarray(result.overlay(style=style))
    keywords = result.overlay(
        alpha=0.8, colormap="jet", boxes=True, method="otsu", caption=True, quantile=None
    )
    assert np.array_equal(np.asarray(keywords), expected)
    assert np.array_equal(pixels(result, style), expected)
    saved = result.save(tmp_path / "a.png", style=style)
    assert np.array_equal(np.asarray(Image.open(saved)), expected)
    plain = result.overlay(style=style, caption=False)  # a keyword changes the style
    assert np.array_equal(np.asarray(plain), expected[: plain.height, : plain.width])
    assert plain.size == (64, 48)


def test_an_option_that_is_none_is_told_with_the_nearest(result: gh.Explanation) -> None:
    with pytest.raises(gh.OptionError, match=r"no option alfa= .* Did you mean alpha=\?"):
        result.overlay(alfa=0.3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"alpha": 1.5}, "alpha"),
        ({"colormap": "jett"}, "did you mean 'jet'"),
        ({"threshold": 2.0, "boxes": True}, "threshold="),
        ({"method": "quantile"}, "ask for boxes=True or contours=True"),
    ],
)
def test_a_style_is_checked_when_it_is_made(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(gh.InputError, match=told):
        gh.Style(**wrong)
