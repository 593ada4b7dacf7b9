"""What a result can do: be taken apart, be drawn at its place, be saved whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.images.colors import colorize
from tests.nets import gap_linear, images


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
    drawn = np.asarray(result.overlay(picture, alpha=0.25, colormap="jet"))
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
    whole = [np.asarray(result.overlay(one, alpha=1)) for one in (photo, black)]
    assert np.array_equal(*whole)


def test_what_the_network_never_saw_is_left_untinted() -> None:
    photo = Image.new("RGB", (64, 32), (40, 80, 120))
    crop = gh.Preprocess(size=(32, 32), fit="crop", resize=32)
    result = gh.explain(gap_linear().float(), photo, "1", preprocess=crop)
    drawn = np.asarray(result.overlay(alpha=1))
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
    with pytest.raises(gh.InputError, match=r"needs maps of \(height, width\)"):
        volume.overlay()


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


def test_a_notebook_gets_a_png(result: gh.Explanation) -> None:
    assert result._repr_png_().startswith(b"\x89PNG")
