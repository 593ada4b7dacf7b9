"""Colour maps by name and as objects: matplotlib's are matplotlib's to a level of 256."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import LinearSegmentedColormap, ListedColormap

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import colorize
from gradcam_hooks.images.palettes import Palette, colour_table, settled

STEPS = np.arange(256)
FROM_BOTH = (
    "autumn", "bwr", "cividis", "cool", "gray", "inferno", "magma", "plasma", "RdBu", "spring",
    "summer", "turbo", "viridis", "winter",
)  # fmt: skip
"""Names that stand for the same colours here and there."""


def theirs(name: str) -> np.ndarray:
    return np.asarray(mpl.colormaps[name](STEPS / 255))[:, :3]


@pytest.mark.parametrize("name", [*FROM_BOTH, "magma_r", "RdBu_r", "coolwarm", "Blues", "tab10"])
def test_the_names_of_matplotlib_are_its_colours(name: str) -> None:
    assert np.abs(colour_table(name) - theirs(name)).max() <= 1 / 255


def test_names_are_found_in_any_case() -> None:
    for name in ("rdbu_R", "COOLWARM", "Grey"):
        known = {"rdbu_R": "RdBu_r", "COOLWARM": "coolwarm", "Grey": "gray"}[name]
        np.testing.assert_array_equal(colour_table(name), colour_table(known))


@pytest.mark.parametrize(
    "colormap",
    [
        mpl.colormaps["coolwarm"],
        LinearSegmentedColormap.from_list("mine", ["black", "lime"]),
        ListedColormap(["red", "white", "blue"], name="flag"),
        lambda x: np.stack([x, 1 - x, 0 * x], axis=1),
    ],
)
def test_an_object_gives_its_own_colours(colormap: object) -> None:
    found = colorize(STEPS / 255, colormap)  # type: ignore[arg-type]
    expected = np.asarray(colormap(STEPS / 255))[:, :3]  # type: ignore[operator]
    assert np.abs(found - expected).max() < 1e-6


def test_an_object_becomes_data_that_is_compared_and_told() -> None:
    first, again = settled(mpl.colormaps["coolwarm"]), settled(mpl.colormaps["coolwarm"].copy())
    assert isinstance(first, Palette)
    assert (first, str(first)) == (again, "coolwarm")
    assert repr(first) == repr(again) != repr(settled(mpl.colormaps["bwr"]))
    assert "0x" not in repr(first)


@pytest.mark.parametrize("wrong", [len, lambda x: x, lambda x: np.full((256, 3), 2.0), 7])
def test_what_gives_no_colours_is_told(wrong: object) -> None:
    with pytest.raises(InputError, match="colormap="):
        settled(wrong)  # type: ignore[arg-type]


def test_without_matplotlib_ours_go_on_and_others_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert colour_table("RdBu_r").shape == colour_table("viridis_r").shape == (256, 3)
    with pytest.raises(InputError, match=r"no colour map 'Spectral'.*pip install matplotlib"):
        colour_table("Spectral")


def test_the_other_end_comes_first() -> None:
    np.testing.assert_array_equal(colour_table("jet_r"), colour_table("jet")[::-1])
