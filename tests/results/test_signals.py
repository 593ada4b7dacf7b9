"""Signals as lines in the map's colours over time, and spectrograms with their axes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.images.colors import colorize
from gradcam_hooks.results.drawing.axes import ticks

Pixels = npt.NDArray[np.float64]
INK, GROUND, WIDE = 0.86, 0.06, 960


def explained(signal: Tensor, heat: Tensor | None = None) -> gh.Explanation:
    """A real explanation of signals ``(batch, channels, length)``, with maps put in."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(signal.shape[1], 4, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    result = gh.explain(net.to(signal), signal, "1", method="hirescam")
    return (
        result if heat is None else dataclasses.replace(result, maps=heat.expand(len(signal), -1))
    )


def panels(result: gh.Explanation, **how: object) -> list[Pixels]:
    """The dark panels of an overlay, one for each channel, cut out of their paper."""
    pixels = np.asarray(result.overlay(**how), np.float64) / 255
    light = (pixels > 0.97).all(2)
    columns = np.flatnonzero(light.mean(0) < 0.5)
    inside = pixels[:, columns[-1] - WIDE + 1 : columns[-1] + 1]
    dark = (inside > 0.97).all(2).mean(1) < 0.5
    runs = [
        [i for i, _ in run] for on, run in itertools.groupby(enumerate(dark), lambda p: p[1]) if on
    ]
    return [inside[run[0] : run[-1] + 1] for run in runs if len(run) > 25]


def mixed(base: float, heat: float, alpha: float, colormap: str = "inferno") -> Pixels:
    return base * (1 - alpha) + colorize(np.array([heat]), colormap)[0] * alpha


def test_where_two_channels_meet_no_number_is_written_over_another() -> None:
    # From -1 to 1 in three rows: the -1 of one lies 4 pixels above the 1 of the next.
    result = explained(torch.zeros(1, 3, 480))
    paper = np.asarray(result.overlay(axes=gh.Axes(y=(-1, 1, "mV"))), np.float64) / 255
    light = (paper > 0.97).all(2)
    gutter = int(np.flatnonzero(light.mean(0) < 0.5)[0]) - 1
    marks = np.flatnonzero((abs(paper[:, gutter - 3 : gutter + 1] - 0.35) < 0.01).all((1, 2)))
    assert len(marks) == 3 * 5 - 2
    assert np.diff(marks).min() >= 13


def test_the_colours_by_hand() -> None:
    # A line at 0 in the middle of -1..1; the map is 0 on the left and 1 on the right.
    heat = torch.cat([torch.zeros(240), torch.ones(240)])
    result = explained(torch.zeros(1, 1, 480), heat)
    (panel,) = panels(result, alpha=0.5, opacity="even", axes=gh.Axes(y=(-1, 1, "mV")))
    assert panel.shape == (192, WIDE, 3)
    for column, value in ((100, 0.0), (860, 1.0)):
        assert panel[95:97, column].mean(0) == pytest.approx(mixed(INK, value, 0.5), abs=0.13)
        brightest = panel[:, column].sum(1).argmax()
        assert brightest in (95, 96)
        for far in (10, 180):  # the ground is tinted at two fifths of that
            assert panel[far, column] == pytest.approx(mixed(GROUND, value, 0.2), abs=1 / 255)


def test_alpha_and_colours_are_those_of_the_overlay() -> None:
    result = explained(torch.zeros(1, 1, 50), torch.ones(50))
    how = {"axes": gh.Axes(y=(-1, 1, ""))}
    (bare,), (whole,) = (
        panels(result, alpha=0, **how),
        panels(result, alpha=1, opacity="even", colormap="jet", **how),
    )
    assert bare[20, 400] == pytest.approx([GROUND] * 3, abs=1 / 255)
    assert np.ptp(bare, axis=2).max() < 1e-9  # grey all over
    assert whole[95:97, 400].max(0) == pytest.approx(mixed(0, 1, 1, "jet"), abs=0.03)


def test_a_sample_stands_at_its_time_and_the_ticks_beside_it() -> None:
    signal = torch.zeros(1, 1, 1001)
    signal[..., 500] = 1  # at 100 samples per second: 5 s
    axes = gh.Axes(rate=100)
    pixels = np.asarray(explained(signal).overlay(alpha=0, axes=axes), np.float64) / 255
    (panel,) = panels(explained(signal), alpha=0, axes=axes)
    spike = panel[:60].sum((0, 2)).argmax()
    assert spike in (479, 480)  # on the edge between them: (500.5 / 1001) of 960
    # The paper below the panel has a dash for each whole second.
    bottom = np.flatnonzero((pixels[:, pixels.shape[1] // 2 + 50] < 0.3).all(1))[-1]
    dashes = np.flatnonzero((np.abs(pixels[bottom + 2] - 0.35) < 0.01).all(1))
    found = dashes - dashes[0]
    assert len(found) == 11  # 0 to 10 seconds
    assert np.diff(found) == pytest.approx(WIDE * 100 / 1001, abs=1)
    assert dashes[5] - dashes[0] == pytest.approx(spike, abs=1)


@pytest.mark.parametrize(
    ("span", "pixels", "apart", "expected"),
    [
        ((0.0, 8000.0, "Hz"), 256, 90, [(0, "0"), (160, "5000 Hz")]),
        ((10.0, 0.0, ""), 100, 50, [(100, "0"), (50, "5"), (0, "10")]),
        ((-0.3, 0.3, "V"), 60, 20, [(10, "-0.2"), (30, "0.0"), (50, "0.2 V")]),
    ],
    ids=["frequency", "downwards", "about zero"],
)  # fmt: skip
def test_ticks_by_hand(
    span: tuple[float, float, str], pixels: int, apart: int, expected: list[tuple[float, str]]
) -> None:
    found = ticks(span, pixels, apart)
    assert [text for _, text in found] == [text for _, text in expected]
    assert [at for at, _ in found] == pytest.approx([at for at, _ in expected])


def test_a_short_peak_of_a_long_map_is_not_lost_between_columns() -> None:
    heat = torch.zeros(9600 * 3)
    heat[14_405] = 1  # thirty samples to a column
    result = explained(torch.zeros(1, 1, len(heat)), heat)
    (panel,) = panels(result, alpha=0.5, opacity="even", axes=gh.Axes(y=(-1, 1, "")))
    assert panel[20, 480] == pytest.approx(mixed(GROUND, 1, 0.2), abs=1 / 255)
    for beside in (479, 481):
        assert panel[20, beside] == pytest.approx(mixed(GROUND, 0, 0.2), abs=1 / 255)


def test_channels_are_stacked_each_in_its_own_range() -> None:
    time = torch.arange(300) / 300
    signal = torch.stack([time, 1000 * time, -time])[None]
    drawn = panels(explained(signal), alpha=0)
    assert len(drawn) == 3
    up, large, down = (panel.sum(2).argmax(0) for panel in drawn)
    assert np.array_equal(up, large)  # in its own range it looks the same
    assert up[10] > up[-10]
    assert down[10] < down[-10]
    same = panels(explained(signal), alpha=0, axes=gh.Axes(y=(0, 1000, "")))
    assert (same[0].sum(2).argmax(0)[20:-20] > 0.97 * len(same[0])).all()


def test_samples_that_are_no_number_are_gaps() -> None:
    signal = torch.zeros(1, 1, 96)
    result = explained(signal, torch.zeros(96))
    holed = signal[0].numpy().copy()
    holed[:, 40:56] = np.nan
    (panel,) = panels(result, image=holed, alpha=0, axes=gh.Axes(y=(-1, 1, "")))
    lit = panel.max((0, 2)) > 0.5
    assert lit[5:390].all()  # the first sample stands at 4.5
    assert not lit[410:550].any()
    assert lit[570:955].all()


def test_many_channels_are_named_and_the_rest_is_told() -> None:
    many = explained(torch.randn(1, 70, 40))
    assert len(panels(many)) == 64
    ten = explained(torch.randn(1, 10, 40))
    named = ten.overlay(axes=gh.Axes(names=[f"electrode {i}" for i in range(10)]))
    assert named.width > ten.overlay().width
    with pytest.raises(gh.InputError, match="list of 10, a name for each channel"):
        ten.overlay(axes=gh.Axes(names=("I", "II")))


def test_boxes_frame_the_spans() -> None:
    heat = torch.zeros(480)
    heat[100:150] = 1
    (panel,) = panels(explained(torch.zeros(1, 1, 480), heat), boxes=True)
    cyan = (np.abs(panel - (0, 1, 1)) < 0.01).all(2)
    columns = np.flatnonzero(cyan.all(0))
    assert columns.tolist() == [200, 299]  # two columns a sample; the last lies inside


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"contours": True}, "outlines are of pictures; boxes=True"),
        ({"slice": 3}, "a signal has no slices"),
        ({"image": np.zeros((2, 7))}, "signal is 7 long and the map 40"),
        ({"image": np.zeros((1, 2, 40))}, r"not on ndarray of shape \(1, 2, 40\)"),
        ({"image": "cat.jpg"}, r"not on str.*result\.overlay\(signal\)"),
    ],
    ids=["outlines", "slices", "length", "axes", "path"],
)
def test_what_a_signal_has_not(how: dict[str, object], message: str) -> None:
    with pytest.raises(gh.InputError, match=message):
        explained(torch.randn(1, 2, 40)).overlay(**how)


def test_it_is_shown_compared_and_captioned_like_pictures() -> None:
    one, two = explained(torch.randn(1, 2, 40)), explained(torch.randn(2, 2, 40))
    page = one._repr_html_()
    assert page.count("<img") == 2
    assert one._repr_png_()[:4] == b"\x89PNG"
    assert one.overlay(caption=True).height > one.overlay().height
    assert two.overlay().height > one.overlay().height  # a row for each
    net = nn.Sequential(nn.Conv1d(2, 4, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    made = gh.compare(net, torch.randn(1, 2, 40), methods=["gradcam", "hirescam"])
    assert made.figure.width > WIDE


class TestSpectrograms:
    """Rows that are frequencies."""

    @staticmethod
    def result() -> gh.Explanation:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        found = gh.explain(net, torch.zeros(1, 1, 96, 160), "0")
        heat = torch.zeros(1, 96, 160)
        heat[0, 0, 7] = 1  # the first row, the eighth column
        return dataclasses.replace(found, maps=heat)

    @pytest.mark.parametrize(
        ("y", "row"), [((0, 8000, "Hz"), 95), ((8000, 0, "Hz"), 0)], ids=["low first", "high first"]
    )
    def test_values_grow_upwards_whichever_row_is_first(
        self, y: tuple[float, float, str], row: int
    ) -> None:
        axes = gh.Axes(x=(0, 2.0, "s"), y=y)
        pixels = (
            np.asarray(self.result().overlay(alpha=1, opacity="even", axes=axes), np.float64) / 255
        )
        light = (pixels > 0.97).all(2)
        top = np.flatnonzero(light.mean(1) < 0.5)[0]
        left = np.flatnonzero(light.mean(0) < 0.5)[0]
        panel = pixels[top : top + 192, left : left + 320]  # enlarged twice, to 192 rows
        hot = np.argwhere((np.abs(panel - colorize(np.ones(1))[0]) < 0.01).all(2))
        assert hot.tolist() == [[2 * row + i, 14 + j] for i in (0, 1) for j in (0, 1)]
        dashes = np.flatnonzero((np.abs(pixels[:, left - 2] - 0.35) < 0.01).all(1)) - top
        assert dashes.tolist() == [0, 48, 96, 144, 191]  # 8000 at the upper edge, 0 at the lower

    def test_without_a_y_axis_nothing_is_turned(self) -> None:
        pixels = (
            np.asarray(
                self.result().overlay(alpha=1, opacity="even", axes=gh.Axes(rate=80)), np.float64
            )
            / 255
        )
        hot = np.argwhere((np.abs(pixels - colorize(np.ones(1))[0]) < 0.01).all(2))
        assert hot[:, 0].tolist() == [0, 0, 1, 1]

    def test_a_picture_has_no_channels_and_no_slices(self) -> None:
        with pytest.raises(gh.InputError, match="channels of a signal"):
            self.result().overlay(axes=gh.Axes(names=("a",)))
        with pytest.raises(gh.InputError, match="a picture has no slices"):
            self.result().overlay(axis=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": (0, 0, "s")}, "two different numbers"),
        ({"y": (0, float("nan"), "Hz")}, "two different numbers"),
        ({"x": (0, 1)}, r"x= is \(start, end, unit\), such as"),
        ({"x": (0, 1, "s"), "rate": 5}, "give one of them"),
        ({"rate": 0}, "rate= is positions per second, above 0, not 0"),
    ],
    ids=["no extent", "nan", "two", "both", "rate"],
)
def test_axes_that_say_nothing(fields: dict[str, object], message: str) -> None:
    with pytest.raises(gh.InputError, match=message):
        gh.Axes(**fields)
