"""One figure of several maps: what is in it, where it stands, and what happens to what fails."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import gradcam_hooks as gh
from gradcam_hooks.apps import demo
from gradcam_hooks.images.lettering import lettered, letters, text_width, written
from gradcam_hooks.images.sheets import captioned, sheet
from tests.support.nets import gap_linear, images

PREPARE = gh.Preprocess(size=(64, 64), mean=demo.MEAN, std=demo.STD)


@pytest.fixture(scope="module")
def honest() -> torch.nn.Module:
    """The demo's network that looks at the shape."""
    loaded = gh.load_model("gradcam_hooks.apps.demo:network", demo.HONEST, labels=demo.LABELS)
    return loaded.model


def shown(figure: Image.Image, left: int, top: int, like: Image.Image) -> np.ndarray:
    """What a figure shows at a place, of the size of a picture."""
    return np.asarray(figure)[top : top + like.height, left : left + like.width]


class TestFigure:
    def test_methods_stand_in_a_grid_behind_the_picture(self, honest: torch.nn.Module) -> None:
        names = ["gradcam", "layercam", "eigencam"]
        made = gh.compare(
            honest, demo.IMAGES[6], methods=names, preprocess=PREPARE, labels=demo.LABELS
        )
        assert [one.method for one in made.explanations] == names
        assert all(one.layers == ("layer3",) for one in made.explanations)
        picture = Image.open(demo.IMAGES[6])
        cells = [picture, *(one.overlay() for one in made.explanations)]
        second = made.figure.height // 2 + 4  # two rows of one height, 8 pixels between them
        places = [(0, 0), (264, 0), (528, 0), (0, second)]
        for (left, top), cell in zip(places, cells, strict=True):
            assert np.array_equal(shown(made.figure, left, top, cell), np.asarray(cell))
        # each says what it is: the words below a cell are its own
        words = lettered(["LayerCAM", "layer3", "star (4)"], 256)
        below = np.asarray(made.figure)[256 : 256 + len(words) - 4, 528 : 528 + 256]
        assert np.array_equal(below, words[:-4])

    def test_two_things_stand_in_rows_and_columns(self, honest: torch.nn.Module) -> None:
        made = gh.compare(
            honest,
            demo.IMAGES[0],
            methods=["gradcam", "layercam"],
            targets=["circle", "ring", 7],
            preprocess=PREPARE,
            labels=demo.LABELS,
        )
        assert repr(made) == "Comparison(2 methods, 1 layer, 3 targets; 6 of 6 explained)"
        assert [one.target.item() for one in made.explanations] == [0, 1, 7] * 2
        assert [one.method for one in made.explanations] == ["gradcam"] * 3 + ["layercam"] * 3
        left = max(text_width(word, 16) for word in ("Grad-CAM", "LayerCAM"))
        assert made.figure.width == left + 3 * 256 + 2 * 8
        top = lettered(["circle (0)"], 256, size=16).shape[0] + 8
        for i, one in enumerate(made.explanations[:3]):
            cell = one.overlay()
            place = shown(made.figure, left + i * 264, top, cell)
            assert np.array_equal(place, np.asarray(cell))
        title = np.asarray(made.figure)[: top - 8, left + 264 : left + 264 + 256]
        words = lettered(["ring (1)"], 256, size=16)
        assert np.array_equal(title, words)

    def test_the_columns_can_be_chosen(self) -> None:
        made = gh.compare(gap_linear(), images(1, (200, 200)), targets=[0, 1, 2, 3], columns=5)
        assert made.figure.width == 5 * 200 + 4 * 8
        assert made.figure.height < 300

    def test_it_is_saved_and_shown(self, tmp_path: Path) -> None:
        made = gh.compare(gap_linear(), images(1, (40, 40)), layers=["0", "1"], alpha=0.8)
        path = made.save(tmp_path / "figure.png")
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(made.figure))
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(made._repr_png_()))), np.asarray(made.figure)
        )
        page = made._repr_html_()
        data = page.split("base64,")[1].split('"')[0]
        assert base64.b64decode(data) == made._repr_png_()
        assert 'alt="Comparison(1 method, 2 layers, 1 target; 2 of 2 explained)"' in page


class TestWhatIsCompared:
    def test_nothing_named_compares_six_methods(self) -> None:
        made = gh.compare(gap_linear(), images(1))
        assert made.shape == (6, 1, 1)
        assert len({one.method for one in made.explanations}) == 6

    def test_every_map_is_that_of_explain(self) -> None:
        net, x = gap_linear(), images(1)
        made = gh.compare(net, x, methods=["hirescam", "fem"], layers=["0", ["0", "1"]])
        for cell, (method, layer) in zip(
            made.cells,
            [("hirescam", "0"), ("hirescam", ["0", "1"]), ("fem", "0"), ("fem", ["0", "1"])],
            strict=True,
        ):
            assert cell.explanation is not None
            expected = gh.explain(net, x, layer, method=method)
            assert torch.equal(cell.explanation.maps, expected.maps)
        assert [cell.words[1] for cell in made.cells] == ["0", "0, 1"] * 2

    def test_the_best_classes_are_a_target_each(self) -> None:
        net, x = gap_linear(), images(1)
        made = gh.compare(net, x, targets=gh.TopK(3))
        best = net(x).topk(3).indices[0].tolist()
        assert [one.target.item() for one in made.explanations] == best

    def test_a_function_can_be_a_target(self) -> None:
        made = gh.compare(gap_linear(), images(1), targets=[0, gh.Difference(0, 1)])
        assert made.explanations[1].target is None

    def test_the_model_is_left_as_it_was(self) -> None:
        net = gap_linear().train()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        gh.compare(net, images(1))
        assert net.training
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert not any(module._forward_hooks for module in net.modules())

    def test_a_method_of_several_maps_is_a_block_of_them(self) -> None:
        made = gh.compare(gap_linear(), images(1, (96, 200)), methods=["gradcam", "dff"])
        one = made.explanations[1]
        assert one.maps.shape[1] == 4
        left = 2 * 208  # behind the picture and the first map
        block = np.asarray(made.figure)[:96, left : left + 190]
        assert made.figure.width == left + 190
        # each map at its quarter's place, 40 high, before it is brought to the row's height
        block = np.asarray(Image.fromarray(block).resize((2 * 83 + 8, 88)))
        for i, heat in enumerate(one.drawn()[0]):
            top, side = i // 2 * 48, i % 2 * 91
            small = Image.fromarray((heat * 255).astype(np.uint8)).resize((83, 40))
            quarter = block[top : top + 40, side : side + 83]
            assert np.abs(quarter.astype(float) - np.asarray(small)).mean() < 20


class TestWhatFails:
    def test_a_way_that_cannot_be_keeps_its_place_with_the_reason(self) -> None:
        # "4" has no space, so no map; the other layer is explained all the same
        made = gh.compare(gap_linear(), images(1, (96, 200)), layers=["1", "4"])
        assert [cell.explanation is None for cell in made.cells] == [False, True]
        assert made.cells[1].words == ("Grad-CAM", "4", "predicted class")
        assert repr(made).endswith("1 of 2 explained)")
        with pytest.raises(gh.GradCamHooksError) as error:
            gh.explain(gap_linear(), images(1, (96, 200)), "4")
        assert made.cells[1].reason == str(error.value)
        paper = np.asarray(made.figure)[:96, 2 * 208 : 2 * 208 + 200]
        assert (paper == 238).all(-1).mean() > 0.6  # a note, not a map
        assert paper.min() < 80

    def test_where_nothing_can_be_the_first_reason_is_raised(self) -> None:
        with pytest.raises(gh.LayoutError):
            gh.compare(gap_linear(), images(1), layers=["4"], methods=["gradcam", "fem"])

    def test_wrong_names_are_raised_at_once(self) -> None:
        with pytest.raises(gh.MethodNotFound, match="did you mean 'gradcam'"):
            gh.compare(gap_linear(), images(1), methods=["layercam", "gradcan"])
        with pytest.raises(gh.LayerNotFound, match="no layer '11'"):
            gh.compare(gap_linear(), images(1), layers=["1", "11"])

    def test_there_is_something_to_compare(self) -> None:
        with pytest.raises(gh.InputError, match="nothing to compare"):
            gh.compare(gap_linear(), images(1), layers=[])
        with pytest.raises(gh.InputError, match=r"layers= is a list.*\['layer4'\]"):
            gh.compare(gap_linear(), images(1), layers="layer4")
        with pytest.raises(gh.InputError, match="columns= is a whole number from 1 up, not 0"):
            gh.compare(gap_linear(), images(1), columns=0)

    def test_an_option_goes_to_the_methods_that_have_it(self) -> None:
        made = gh.compare(
            gap_linear(), images(1), methods=["gradcam", "ablationcam"], generator=torch.Generator()
        )
        assert len(made.explanations) == 2
        with pytest.raises(gh.GradCamHooksError, match="unheard"):
            gh.compare(gap_linear(), images(1), unheard=3)  # type: ignore[call-arg]


class TestSheetsAndLetters:
    def test_pictures_of_8_bits_and_of_floats_are_the_same_cells(self) -> None:
        bytes_of = np.random.default_rng(0).integers(0, 256, (300, 40, 3), np.uint8)
        expected = sheet([[bytes_of.astype(np.float32) / 255]] * 2)
        assert np.allclose(sheet([[bytes_of]] * 2), expected, atol=1e-6)
        assert 0.4 < expected.mean() < 0.6

    def test_columns_are_level_whatever_the_pictures_widths(self) -> None:
        narrow, wide = np.zeros((10, 4, 3), np.float32), np.full((10, 20, 3), 0.5, np.float32)
        drawn = sheet([[narrow, wide], [wide, narrow]])
        assert drawn.shape == (28, 48, 3)
        assert (drawn[:10, :4] == 0).all()
        assert (drawn[:10, 4:28] == 1).all()
        assert (drawn[:10, 28:] == 0.5).all()
        assert (drawn[18:, 28:32] == 0).all()

    def test_text_is_wrapped_to_its_width_and_nothing_is_lost(self) -> None:
        long = "a class whose name goes on and on, and Donaudampfschifffahrtsgesellschaftskapitaen"
        one, many = lettered([long], 2000, size=14), lettered([long], 120, size=14)
        assert many.shape[1] == 120
        assert len(many) > 6 * 18 > len(one)
        ink = [float((255 - drawn).sum()) for drawn in (one, many)]
        assert ink[1] == pytest.approx(ink[0], rel=0.05)

    @pytest.mark.parametrize("text", ["one\ntwo", "\u202ereversed", "\x07", "", "é", "猫", "😀"])
    def test_any_label_can_be_written(self, text: str) -> None:
        drawn = lettered([text], 100)
        assert drawn.shape[1:] == (100, 3)
        assert drawn.max() == 255
        assert (drawn.min() < 128) == bool(text)

    @pytest.mark.parametrize("size", [12, 17, 40])
    def test_a_line_is_as_pillow_writes_it(self, size: int) -> None:
        for text in ("jagged fjord, Qy_|", "score 7.5, p = 0.250", "Ëgø"):
            (line,) = written([text], 2000, size)
            for _ in range(2):  # a line that stands under many pictures is written once
                drawn = lettered([text], 2000, size=size, ground=200)
                paper = Image.new("L", (2000, len(drawn)), 200)
                pen = ImageDraw.Draw(paper)
                pen.text((line.left, line.top), line.text, fill=line.ink, font=line.font)
                assert (drawn == np.asarray(paper)[..., None]).all()

    def test_letters_grow_with_the_picture(self) -> None:
        assert letters((480, 640)) == 17
        assert letters((10, 10)) == 12
        assert letters((2000, 300)) == 12  # a narrow one has room for few

    def test_a_narrow_picture_is_set_on_wider_paper(self) -> None:
        drawn = captioned(np.zeros((20, 10, 3), np.float32), ["a"], 12)
        assert drawn.shape[1] == 192
        assert (drawn[:20, :10] == 0).all()
        assert (drawn[:20, 10:] == 1).all()


class TestImages:
    def test_each_image_is_a_row_that_begins_with_it(self, honest: torch.nn.Module) -> None:
        pictures = list(demo.IMAGES[:2])
        made = gh.compare(
            honest,
            pictures,
            methods=["gradcam", "layercam"],
            layers=["layer2", "layer3"],
            preprocess=PREPARE,
            labels=demo.LABELS,
        )
        assert repr(made) == "Comparison(2 images, 2 methods, 2 layers, 1 target; 8 of 8 explained)"
        assert made.images == tuple(Path(one).name for one in pictures)
        wide = 264  # a picture of 256 pixels and the gap
        assert (made.cells[0].method, made.cells[0].layer) == ("gradcam", "layer2")
        for row, path in enumerate(pictures):
            cells = [
                Image.open(path),
                *(c.explanation.overlay() for c in made.cells[4 * row : 4 * row + 4]),
            ]
            tops = [
                top
                for top in range(made.figure.height - 255)
                if np.array_equal(shown(made.figure, 0, top, cells[0]), np.asarray(cells[0]))
            ]
            assert len(tops) == 1
            for column, cell in enumerate(cells):
                assert np.array_equal(
                    shown(made.figure, wide * column, tops[0], cell), np.asarray(cell)
                )

    def test_each_image_alone_is_what_it_is_among_others(self) -> None:
        net, x = gap_linear(), images(3)
        made = gh.compare(net, x, methods=["gradcam"], layers=["1"], targets=[0, 1])
        assert (made.shape, made.images) == ((1, 1, 2), ("image 1", "image 2", "image 3"))
        for i, one in enumerate(made.explanations):
            alone = gh.explain(net, x[i // 2][None], "1", target=i % 2)
            assert torch.equal(one.raw, alone.raw)
        ranked = gh.compare(net, list(x.split(1)), layers=["1"], targets=gh.TopK(2))
        assert [one.target.item() for one in ranked.explanations] == net(x).topk(
            2
        ).indices.flatten().tolist()

    def test_what_fails_on_one_image_keeps_its_place(self) -> None:
        net, x = gap_linear(), images(2)
        second = float(net(x)[1, 0].detach())

        def picky(output: torch.Tensor) -> torch.Tensor:
            if abs(float(output[0, 0].detach()) - second) < 1e-9:
                raise gh.TargetError("not of this image")
            return output[:, 0]

        made = gh.compare(net, x, layers=["1"], targets=[picky])
        assert [cell.reason for cell in made.cells] == ["", "not of this image"]
        assert made.figure.height > 2 * 8

    def test_a_batch_within_a_list_is_told(self) -> None:
        with pytest.raises(gh.InputError, match="one of them is a batch of 2"):
            gh.compare(gap_linear(), [images(2)], layers=["1"])
