"""What is taken away for a paper: opacity, signed maps, scales, and text that stays text."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pypdf
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.images.colors import colorize, to_uint8
from tests.support.nets import gap_linear, images

SVG = "{http://www.w3.org/2000/svg}"
PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def result() -> gh.Explanation:
    return gh.explain(gap_linear(), images(1, (48, 64)), "1", target=2)


@pytest.fixture(autouse=True)
def _no_figures_left() -> object:
    mpl.use("Agg")
    yield
    plt.close("all")


def mixed(weight: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return to_uint8(PHOTO / 255 * (1 - weight[..., None]) + colours * weight[..., None])


def near(image: Image.Image, expected: np.ndarray) -> bool:
    return bool((np.abs(np.asarray(image).astype(int) - expected) <= 2).all())


class TestOpacity:
    def test_it_follows_the_map(self, result: gh.Explanation) -> None:
        heat = result.maps[0].numpy()
        drawn = result.overlay(PHOTO, alpha=0.6)
        assert near(drawn, mixed(0.6 * heat, colorize(heat)))
        ignored = heat == 0
        assert ignored.any()
        assert np.array_equal(np.asarray(drawn)[ignored], PHOTO[ignored])

    def test_even_is_the_same_everywhere(self, result: gh.Explanation) -> None:
        heat = result.maps[0].numpy()
        drawn = result.overlay(PHOTO, alpha=0.5, opacity="even")
        assert near(drawn, mixed(np.full(heat.shape, 0.5), colorize(heat)))

    def test_the_look_of_most_papers_has_a_name(self, result: gh.Explanation) -> None:
        heat = result.maps[0].numpy()
        drawn = result.overlay(PHOTO, style=gh.CLASSIC)
        assert near(drawn, mixed(np.full(heat.shape, 0.7), colorize(heat, "jet")))

    def test_another_word_is_told(self) -> None:
        with pytest.raises(gh.InputError, match="opacity"):
            gh.Style(opacity="follow")  # type: ignore[arg-type]


class TestSigned:
    def test_the_sign_is_that_of_the_raw_map(self, result: gh.Explanation) -> None:
        raw = result.raw
        assert isinstance(raw, torch.Tensor)
        full = torch.nn.functional.interpolate(
            raw[None] / raw.abs().max(), (48, 64), mode="bilinear"
        )
        torch.testing.assert_close(result.signed(), full[0].float(), atol=1e-5, rtol=0)
        assert result.signed().min() < 0 < result.signed().max()

    def test_it_is_drawn_around_the_middle_of_a_diverging_scale(
        self, result: gh.Explanation
    ) -> None:
        value = result.signed()[0].numpy()
        colours = mpl.colormaps["RdBu_r"]((value + 1) / 2)[..., :3]
        drawn = result.overlay(PHOTO, signed=True, alpha=0.8)
        assert near(drawn, mixed(0.8 * np.abs(value), colours))
        other = result.overlay(PHOTO, signed=True, colormap="bwr", opacity="even", alpha=1)
        assert near(other, to_uint8(mpl.colormaps["bwr"]((value + 1) / 2)[..., :3]))

    def test_a_map_that_speaks_against_the_class_is_seen(self) -> None:
        net, x = gap_linear(), images(1, (24, 24))
        net[-1].weight.data = -net[-1].weight.data.abs()
        one = gh.explain(net, x, "1", target=0)
        assert one.diagnosis == ("all-negative",)
        assert one.signed().min() == -1
        assert np.ptp(np.asarray(one.overlay(signed=True, alpha=1, opacity="even"))) > 100

    def test_the_layers_of_a_fusion_have_no_common_sign(self) -> None:
        two = gh.explain(gap_linear(), images(1), ["0", "1"], target=0)
        with pytest.raises(gh.InputError, match="signed maps are of one layer"):
            two.signed()

    def test_signals_and_volumes_have_signs_too(self) -> None:
        for space in ((40,), (6, 20, 20)):
            kind = torch.nn.Conv1d if len(space) == 1 else torch.nn.Conv3d
            pool = torch.nn.AdaptiveAvgPool1d if len(space) == 1 else torch.nn.AdaptiveAvgPool3d
            net = torch.nn.Sequential(kind(1, 4, 3, padding=1), pool(1), torch.nn.Flatten())
            one = gh.explain(net, torch.randn(1, 1, *space), "0", target=0, method="hirescam")
            plain, sign = np.asarray(one.overlay()), np.asarray(one.overlay(signed=True))
            assert plain.shape == sign.shape
            assert (plain != sign).any()

    def test_regions_are_of_the_map_from_zero_to_one(self) -> None:
        with pytest.raises(gh.InputError, match="leave them out with signed=True"):
            gh.Style(signed=True, boxes=True)


class TestColorbar:
    def test_it_runs_from_one_at_the_top_to_zero(self, result: gh.Explanation) -> None:
        drawn = np.asarray(result.overlay(PHOTO, colorbar=True, colormap="viridis"))
        assert drawn.shape[0] == 48
        bar = drawn[:, 64 + 6 : 64 + 6 + 12].astype(int)
        expected = mpl.colormaps["viridis"](np.linspace(1, 0, 48))[:, :3] * 255
        assert (np.abs(bar - expected[:, None]) < 4).all()
        assert drawn[:, 64 + 18 :].min() < 100  # its numbers

    def test_beside_several_maps_and_above_a_caption(self, result: gh.Explanation) -> None:
        bar, told = result.overlay(colorbar=True), result.overlay(caption=True, colorbar=True)
        assert told.height > bar.height
        assert np.array_equal(np.asarray(told)[: bar.height, : bar.width], np.asarray(bar))
        several = gh.compare(gap_linear(), images(1), methods=["gradcam", "hirescam"])
        scaled = gh.compare(gap_linear(), images(1), methods=["gradcam", "hirescam"], colorbar=True)
        assert scaled.figure.width > several.figure.width


class TestTextStaysText:
    def test_svg_has_a_node_for_each_line(self, result: gh.Explanation, tmp_path: Path) -> None:
        root = ElementTree.parse(result.save(tmp_path / "a.svg", caption=True)).getroot()
        words = [node.text for node in root.iter(f"{SVG}text")]
        assert [*result.facts()[0][0].lines()] == words
        (picture,) = root.iter(f"{SVG}image")
        held = Image.open(io.BytesIO(base64.b64decode(picture.get("href", "").split(",")[1])))
        assert np.array_equal(np.asarray(held), np.asarray(result.overlay()))

    def test_a_label_is_no_markup(self, tmp_path: Path) -> None:
        one = gh.explain(gap_linear(), images(1), "1", target=0, labels=["<b> & $x$", *"abcd"])
        root = ElementTree.parse(one.save(tmp_path / "a.svg", caption=True)).getroot()
        assert next(root.iter(f"{SVG}text")).text == "<b> & $x$ (0)"
        (page,) = pypdf.PdfReader(one.save(tmp_path / "a.pdf", caption=True)).pages
        assert "<b> & $x$ (0)" in page.extract_text()

    def test_pdf_has_the_words_and_every_pixel(
        self, result: gh.Explanation, tmp_path: Path
    ) -> None:
        (page,) = pypdf.PdfReader(result.save(tmp_path / "a.pdf", caption=True)).pages
        for line in result.facts()[0][0].lines():
            assert line in page.extract_text()
        (picture,) = page.images
        assert np.array_equal(
            np.asarray(picture.image.convert("RGB")), np.asarray(result.overlay())
        )
        fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
        assert all(font["/Subtype"] in ("/Type0", "/TrueType") for font in fonts)  # embedded

    def test_a_comparison_is_as_large_and_has_its_words(self, tmp_path: Path) -> None:
        made = gh.compare(gap_linear(), [images(1), images(2)[1:]], methods=["gradcam", "cam"])
        (page,) = pypdf.PdfReader(made.save(tmp_path / "a.pdf")).pages
        assert (float(page.mediabox.width), float(page.mediabox.height)) == made.figure.size
        assert all(word in page.extract_text() for word in ("Grad-CAM", "CAM", "image 2"))
        assert len(page.images) == 6

    def test_without_matplotlib_a_pdf_has_the_picture(
        self, result: gh.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        (page,) = pypdf.PdfReader(result.save(tmp_path / "a.pdf", caption=True)).pages
        (picture,) = page.images
        assert np.array_equal(
            np.asarray(picture.image.convert("RGB")), np.asarray(result.overlay(caption=True))
        )


class TestPlot:
    def test_the_map_is_a_layer_on_the_picture(self, result: gh.Explanation) -> None:
        _, ax = plt.subplots()
        assert result.plot(ax, image=PHOTO, colorbar=True) is ax
        picture, layer = ax.images
        assert np.allclose(picture.get_array(), PHOTO / 255, atol=1e-6)
        assert np.allclose(layer.get_array(), result.maps[0])
        assert np.allclose(layer.get_alpha(), 0.7 * result.maps[0], atol=1e-6)
        assert np.allclose(layer.get_cmap()(np.arange(256))[:, :3], colorize(np.arange(256) / 255))
        assert layer.get_clim() == (0, 1)
        assert ax.get_title(loc="left") == "\n".join(result.facts()[0][0].lines())
        (scale,) = ax.child_axes
        assert scale.get_ylim() == (0, 1)

    def test_signed_and_boxes(self, result: gh.Explanation) -> None:
        layer = result.plot(signed=True).images[1]
        assert np.allclose(layer.get_array(), result.signed()[0], atol=1e-6)
        assert layer.get_clim() == (-1, 1)
        ax = result.plot(boxes=True, caption=False)
        drawn = [one for one in ax.patches if isinstance(one, Rectangle)]
        found = [
            (one.get_x() + 0.5, one.get_y() + 0.5, one.get_width(), one.get_height())
            for one in drawn
        ]
        (boxes,) = result.boxes()
        assert found == [(left, top, r - left, b - top) for left, top, r, b in boxes]
        assert ax.get_title(loc="left") == ""

    def test_a_batch_takes_an_array_of_axes(self) -> None:
        several = gh.explain(gap_linear(), images(2), "1", target=gh.TopK(3))
        made = several.plot()
        assert made.shape == (2, 3)
        _, axes = plt.subplots(2, 3)
        assert several.plot(axes).tolist() == axes.tolist()
        with pytest.raises(gh.InputError, match=r"ax= is \(2, 3\) of matplotlib's axes"):
            several.plot(axes[0])

    def test_a_signal_is_a_line_in_the_colours_of_its_map(self) -> None:
        net = torch.nn.Sequential(
            torch.nn.Conv1d(2, 4, 3, padding=1), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
        )
        one = gh.explain(net, torch.randn(1, 2, 50), "0", target=0)
        ax = one.plot(axes=gh.Axes(rate=10, names=["I", "II"]), opacity="even", alpha=1)
        lines = [each for each in ax.collections if isinstance(each, LineCollection)]
        assert len(lines) == 2
        tint = colorize(one.maps[0].numpy())
        assert np.allclose(lines[0].get_colors()[:, :3], (tint[1:] + tint[:-1]) / 2, atol=1e-2)
        assert ax.get_xlim() == (0, 5)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["I", "II"]

    def test_a_volume_is_its_montage(self) -> None:
        net = torch.nn.Sequential(
            torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()
        )
        one = gh.explain(net, torch.rand(1, 1, 4, 16, 16), "0", target=0)
        assert near(one.overlay(), to_uint8(one.plot().images[0].get_array()))

    def test_a_spectrogram_has_its_axes(self, result: gh.Explanation) -> None:
        ax = result.plot(axes=gh.Axes(x=(0, 2, "s"), y=(0, 8000, "Hz")))
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("s", "Hz")
        assert ax.images[1].get_extent() == [0, 2, 0, 8000]
        assert np.allclose(ax.images[1].get_array(), result.maps[0].flip(0))

    def test_a_comparison_fills_its_axes(self) -> None:
        made = gh.compare(gap_linear(), [images(1), images(2)[1:]], methods=["gradcam", "cam"])
        axes = made.plot()
        assert axes.shape == (2, 2)
        assert "CAM" in axes[1, 1].get_title(loc="left")
        assert np.allclose(axes[1, 1].images[1].get_array(), made.explanations[3].maps[0])

    def test_without_matplotlib_the_next_step_is_told(
        self, result: gh.Explanation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        with pytest.raises(ImportError, match="pip install matplotlib"):
            result.plot()


class TestCells:
    def test_their_height_and_captions_can_be_chosen(self) -> None:
        net, x = gap_linear(), images(1, (200, 200))
        bare = gh.compare(
            net, x, methods=["gradcam", "cam"], columns=3, cell_height=50, caption=False
        )
        assert bare.figure.size == (3 * 50 + 2 * 8, 50)
        told = gh.compare(net, x, methods=["gradcam", "cam"], columns=3, cell_height=50)
        assert told.figure.height > 50

    def test_a_height_that_is_none_is_told(self) -> None:
        with pytest.raises(gh.InputError, match="cell_height="):
            gh.compare(gap_linear(), images(1), cell_height=0)
