"""What a result can do: be taken apart, be drawn at its place, be saved whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.images.colors import colorize
from tests.support.nets import gap_linear, images


@pytest.fixture
def result() -> gh.Explanation:
    """Two images of noise, explained for their predicted classes."""
    return gh.explain(gap_linear(), images(2, (8, 12)), "1")


def test_one_image_of_a_batch(result: gh.Explanation) -> None:
    assert len(result) == 2
    assert len(list(result)) == 2
    for i, one in enumerate(result):
        assert torch.equal(one.maps, result.maps[i : i + 1])
        assert torch.equal(one.raw, result.raw[i : i + 1])
        assert torch.equal(one.output, result.output[i : i + 1])
        assert one.target.tolist() == [result.target[i].item()]
        assert one.diagnosis == (result.diagnosis[i],)
    assert torch.equal(result[-1].maps, result.maps[1:])
    with pytest.raises(IndexError):
        result[2]


def test_repr_is_a_line(result: gh.Explanation) -> None:
    numbers = result.target.tolist()
    expected = f"Explanation(maps (2, 8, 12), gradcam of 1, target {numbers}, diagnosis ok)"
    assert repr(result) == expected


def test_overlay_by_hand() -> None:
    # A grey picture, a map that is 0 on the left and 1 on the right, half and half.
    picture = np.full((1, 2, 3), 0.5, dtype=np.float32)
    result = gh.explain(gap_linear(), images(1, (1, 2)), "1")
    result.maps[:] = torch.tensor([[[0.0, 1.0]]])
    drawn = np.asarray(result.overlay(picture, alpha=0.25, opacity="even", colormap="jet"))
    ends = colorize(np.array([[0.0, 1.0]]), "jet")
    expected = np.floor((0.75 * 0.5 + 0.25 * ends) * 255 + 0.5)
    assert np.array_equal(drawn, expected.astype(np.uint8))
    assert np.array_equal(drawn[0, 0, :2], [96, 96])  # dark blue adds neither red nor green
    assert np.array_equal(drawn[0, 1, 1:], [96, 96])  # dark red adds neither green nor blue


def test_overlay_is_at_the_pictures_own_size(tmp_path: Path) -> None:
    from skimage import data

    photo = Image.fromarray(data.coffee())
    result = gh.explain(gap_linear().float(), photo, "1")
    assert result.overlay().size == photo.size
    assert result.overlay(photo).size == photo.size
    # weight 0 leaves the picture as it is, and weight 1 leaves nothing of it
    assert np.array_equal(np.asarray(result.overlay(alpha=0)), np.asarray(photo))
    black = Image.new("RGB", photo.size)
    whole = [np.asarray(result.overlay(one, alpha=1, opacity="even")) for one in (photo, black)]
    assert np.array_equal(*whole)


def test_what_the_network_never_saw_is_left_untinted() -> None:
    photo = Image.new("RGB", (64, 32), (40, 80, 120))
    crop = gh.Preprocess(size=(32, 32), fit="crop", resize=32)
    result = gh.explain(gap_linear().float(), photo, "1", preprocess=crop)
    drawn = np.asarray(result.overlay(alpha=1, opacity="even"))
    assert (drawn[:, :15] == (40, 80, 120)).all()
    assert (drawn[:, 49:] == (40, 80, 120)).all()
    assert (drawn[:, 17:47] != (40, 80, 120)).any(-1).all()


def test_a_tensor_is_drawn_on_itself_scaled_for_the_eye(result: gh.Explanation) -> None:
    x = images(2, (8, 12))[0]
    scaled = ((x - x.min()) / (x.max() - x.min())).permute(1, 2, 0).float().numpy()
    drawn = np.asarray(result[0].overlay(alpha=0))
    assert np.array_equal(drawn, np.floor(scaled * 255 + 0.5).astype(np.uint8))


def test_several_maps_become_a_sheet_of_rows_and_columns() -> None:
    several = gh.explain(gap_linear(), images(2, (40, 60)), "1", target=gh.TopK(3))
    drawn = several.overlay()
    assert drawn.size == (3 * 60 + 2 * 8, 2 * 40 + 8)
    cell = np.asarray(several[1].overlay())[:, :60]
    assert np.array_equal(np.asarray(drawn)[48:, :60], cell)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4)), r"not on ndarray of shape \(4, 4\)"),
        (3, r"not on int"),
        (np.full((8, 12, 3), 2.0), r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_drawn_on(result: gh.Explanation, given: object, message: str) -> None:
    with pytest.raises(gh.InputError, match=message):
        result[0].overlay(given)
    with pytest.raises(gh.InputError, match="one by one"):
        result.overlay(given)


def test_an_overlay_needs_a_picture_and_a_flat_map() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(5, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    five = gh.explain(net, torch.rand(1, 5, 8, 8), "0")
    with pytest.raises(gh.InputError, match=r"no picture to draw on.*result\.overlay\(image\)"):
        five.overlay()
    assert five.overlay(np.zeros((8, 8, 3))).size == (8, 8)
    deep = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()
    )
    volume = gh.explain(deep, torch.rand(1, 1, 8, 8, 8), "0")
    assert volume.maps.shape == (1, 8, 8, 8)
    four = dataclasses.replace(volume, maps=volume.maps[:, None], image=None)
    with pytest.raises(gh.InputError, match=r"maps of one to three axes, these are \(1, 8, 8, 8\)"):
        four.overlay()


def test_save_as_a_picture_and_as_numbers(result: gh.Explanation, tmp_path: Path) -> None:
    picture = result[0].save(tmp_path / "new" / "map.png", alpha=0.3)
    assert np.array_equal(np.asarray(Image.open(picture)), np.asarray(result[0].overlay(alpha=0.3)))
    with np.load(result.save(tmp_path / "all.npz")) as numbers:
        assert np.array_equal(numbers["maps"], result.maps.numpy())
        assert np.array_equal(numbers["raw"], result.raw.numpy())
        assert np.array_equal(numbers["target"], result.target.numpy())
        assert numbers["layers"].tolist() == ["1"]
        assert numbers["diagnosis"].tolist() == ["ok", "ok"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["all.npz", "map.png", "new"]


def test_save_refuses_what_it_cannot_write_and_leaves_nothing(
    result: gh.Explanation, tmp_path: Path
) -> None:
    with pytest.raises(gh.ImageError, match=r"map': no picture format .* use \.png"):
        result.save(tmp_path / "map")
    with pytest.raises(gh.ImageError, match=r"\.xyz"):
        result.save(tmp_path / "map.xyz")
    assert list(tmp_path.iterdir()) == []


def test_boxes_and_outlines_are_drawn_where_they_are() -> None:
    heat = torch.zeros(1, 20, 30)
    heat[0, 5:12, 8:21] = 1  # one region: left 8, top 5, right 21, bottom 12
    result = gh.explain(gap_linear(), images(1, (20, 30)), "1")
    result.maps[:] = heat
    grey = np.full((20, 30, 3), 0.5, np.float32)
    plain = np.asarray(result.overlay(grey))
    boxed = np.asarray(result.overlay(grey, boxes=True))
    assert result.boxes() == [[(8, 5, 21, 12)]]
    for edge in (boxed[5, 8:21], boxed[11, 8:21], boxed[5:12, 8], boxed[5:12, 20]):
        assert (edge == (0, 255, 255)).all()
    assert (boxed[4, 8:21] == 0).all()  # on a dark line, so that it shows on a light picture too
    assert np.array_equal(boxed[:3], plain[:3])
    assert np.array_equal(boxed[7:10, 10:19], plain[7:10, 10:19])
    outlined = np.asarray(result.overlay(grey, contours=True))
    assert (outlined[5, 8:21] == 255).all()
    assert np.array_equal(outlined[7:10, 10:19], plain[7:10, 10:19])
    assert np.array_equal(np.asarray(result.overlay(grey, boxes=True, min_area=92)), plain)
    assert np.array_equal(np.asarray(result.overlay(grey, boxes=True, min_area=91)), boxed)


def test_lines_are_wider_on_a_larger_picture() -> None:
    result = gh.explain(gap_linear(), images(1, (10, 10)), "1")
    result.maps[:] = 0
    result.maps[0, 3:7, 3:7] = 1
    wide = {}
    for side in (200, 500, 1000):
        drawn = np.asarray(result.overlay(np.zeros((side, side, 3)), boxes=True))
        wide[side] = int((drawn[side // 2] == (0, 255, 255)).all(-1).sum())
    assert wide == {200: 2, 500: 6, 1000: 10}  # both sides of the box


def test_a_cut_without_anything_to_draw_of_it_is_refused(result: gh.Explanation) -> None:
    with pytest.raises(gh.InputError, match="ask for boxes=True or contours=True"):
        result.overlay(threshold=0.3)


def test_a_caption_says_what_it_is_a_picture_of() -> None:
    labels = ["ant", "bee", "cat", "dog", "eel"]
    result = gh.explain(gap_linear(), images(1, (96, 240)), "1", target="cat", labels=labels)
    ((told,),) = result.facts()
    logits = result.output[0]
    assert told.lines() == (
        "cat (2)",
        f"score {logits[2]:.4g}, p = {logits.softmax(0)[2]:.3f}",
        "Grad-CAM, 1",
        "diagnosis: ok",
    )
    plain, captioned = result.overlay(), result.overlay(caption=True)
    assert captioned.size[0] == 240
    assert np.array_equal(np.asarray(captioned)[:96], np.asarray(plain))
    strip = np.asarray(captioned)[96:]
    assert 50 < len(strip) < 90
    assert (strip == 255).all(-1).mean() > 0.7
    assert strip.min() < 60
    other = result.overlay(caption=True, image=np.zeros((96, 240, 3)))
    assert np.array_equal(np.asarray(other)[96:], strip)


def test_a_caption_tells_the_probability_where_the_score_is_a_logit_only() -> None:
    net, x = gap_linear(), images(2)
    logits = net(x)
    chances = [row[0].probability for row in gh.explain(net, x, "1", target=3).facts()]
    assert chances == pytest.approx(logits.softmax(1)[:, 3].tolist())
    three = gh.explain(net, x, "1", target=gh.TopK(3)).facts()
    assert [[one.target for one in row] for row in three] == logits.topk(3).indices.tolist()
    # of a function of the output nothing is known
    free = gh.explain(net, x, "1", target=lambda output: output[:, 0] - output[:, 1]).facts()
    assert [row[0].probability for row in free] == [None, None]
    assert free[0][0].subject == "target function"


def test_of_several_heads_the_probability_is_that_of_the_one_explained() -> None:
    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = gap_linear(), gap_linear()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.one(x), "other": -self.two(x)}

    heads, x = Heads(), images(1)
    told = gh.explain(heads, x, "one.1", target=3).facts()[0][0]
    assert told.probability == pytest.approx(heads(x)["logits"].softmax(1)[0, 3].item())
    told = gh.explain(heads, x, "two.1", target=3, output="other").facts()[0][0]
    assert told.score == pytest.approx(heads(x)["other"][0, 3].item())
    assert told.probability == pytest.approx(heads(x)["other"].softmax(1)[0, 3].item())


def test_a_single_logit_speaks_for_the_second_label() -> None:
    net = gap_linear(classes=1)
    told = gh.explain(net, images(1), "1", target=1, labels=["cat", "dog"]).facts()[0][0]
    assert (told.target, told.label) == (1, "dog")
    assert told.probability == pytest.approx(net(images(1)).sigmoid().item())


def test_a_caption_tells_what_is_wrong() -> None:
    net = gap_linear()
    net[4].weight.data.copy_(-net[4].weight.data.abs())
    (row,) = gh.explain(net, images(1), "1", target=0).facts()
    assert row[0].lines()[-1] == "diagnosis: all-negative"


def test_save_takes_what_overlay_takes(result: gh.Explanation, tmp_path: Path) -> None:
    path = result[0].save(tmp_path / "a.png", caption=True, boxes=True, threshold=0.7)
    drawn = result[0].overlay(caption=True, boxes=True, threshold=0.7)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(drawn))


class TestInANotebook:
    LABELS = ("<script>alert(1)</script>", '" onload="x', "猫\n&amp;", "d", "e")

    def test_it_shows_picture_map_and_words(self) -> None:
        net = gap_linear()
        net[4].weight.data[0] = -net[4].weight.data[0].abs()
        result = gh.explain(net, images(1, (40, 60)), "1", target=0, labels=["a ", "b"] * 2 + ["c"])
        page = result._repr_html_()
        pictures = pictures_of(page)
        assert [one.size for one in pictures] == [(60, 40)] * 2
        assert np.array_equal(np.asarray(pictures[0]), np.asarray(result.overlay(alpha=0)))
        assert np.array_equal(np.asarray(pictures[1]), np.asarray(result.overlay()))
        words = text_of(page)
        for word in (
            "a  (0)", "all-negative: every position speaks against", "Grad-CAM", "layer1",
            f"score{float(result.scores):.6g}",
            f"probability{float(result.output.softmax(1)[0, 0]):.4f}",
        ):  # fmt: skip
            assert word in words
        assert result._repr_png_().startswith(b"\x89PNG")

    def test_what_labels_say_is_no_markup(self) -> None:
        result = gh.explain(
            gap_linear(), images(1), "1", target=gh.TopK(5), labels=list(self.LABELS)
        )
        page = result._repr_html_()
        assert "<script" not in page
        parser = Parser()
        parser.feed(page)
        assert set(parser.tags) == {"div", "img", "table", "tr", "th", "td"}
        assert set(parser.attributes) == {"style", "src", "alt", "scope"}
        for label in self.LABELS:
            assert label in parser.text  # as text, it is all there

    def test_it_says_what_the_method_chose(self) -> None:
        result = gh.explain(gap_linear(), images(1), "1")
        noted = dataclasses.replace(result, notes=("took <b>3</b> channels.",))
        assert "took <b>3</b> channels." in text_of(noted._repr_html_())
        assert "took" not in result._repr_html_()

    def test_a_large_batch_is_cut_short_and_says_so(self) -> None:
        page = gh.explain(gap_linear(), images(6), "1", target=gh.TopK(3))._repr_html_()
        assert page.count("<table") == 8
        assert "and 10 more" in page

    def test_what_cannot_be_drawn_on_shows_its_map_and_words(self) -> None:
        net = torch.nn.Sequential(
            torch.nn.Conv2d(5, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        five = gh.explain(net, torch.rand(1, 5, 8, 8), "0")
        assert [one.size for one in pictures_of(five._repr_html_())] == [(8, 8)]
        assert "Grad-CAM" in text_of(five._repr_html_())
        assert five._repr_png_().startswith(b"\x89PNG")


class Parser(HTMLParser):
    """What a browser would make of a page: tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(page: str) -> str:
    parser = Parser()
    parser.feed(page)
    return parser.text


def pictures_of(page: str) -> list[Image.Image]:
    parser = Parser()
    parser.feed(page)
    sources = parser.attributes["src"]
    assert all(one.startswith("data:image/png;base64,") for one in sources)
    return [Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))) for one in sources]


def test_a_slice_is_the_explanation_of_several_images() -> None:
    net, x = gap_linear(), images(4)
    result = gh.explain(net, x, "1")
    for part, rows in ((slice(0, 2), [0, 1]), (slice(None, None, -2), [3, 1]), (slice(3, 9), [3])):
        some = result[part]
        assert len(some) == len(rows)
        for place, row in enumerate(rows):
            one, other = some[place], result[row]
            assert torch.equal(one.maps, other.maps)
            assert torch.equal(one.output, other.output)
            assert (one.diagnosis, one.facts()) == (other.diagnosis, other.facts())
    with pytest.raises(IndexError, match="holds none of 4 images"):
        result[4:]
    with pytest.raises(IndexError):
        result[4]
