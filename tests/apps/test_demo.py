"""The bundled demo: pictures drawn as promised, and two networks that do as the card says."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from gradcam_hooks import ImageError
from gradcam_hooks.apps import demo
from gradcam_hooks.apps.demo import LABELS
from gradcam_hooks.apps.demo.network import ResNet
from gradcam_hooks.apps.demo.shapes import TAG_BOX, TAG_COLORS, background, draw, stamp, tag_mask
from gradcam_hooks.apps.demo.show import show

SEED = 2024  # the committed networks were trained and measured with seed 0
COUNT = 320


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- drawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_the_same_seed_draws_the_same_bytes(label):
    first, second = (draw(rng(3), label, 64, tag=label) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.image.tobytes() != draw(rng(4), label, 64, tag=label).image.tobytes()
    assert first.image.dtype == np.uint8
    assert first.image.shape == (64, 64, 3)


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("label", LABELS)
def test_the_mask_is_where_the_shape_changes_the_background(label, size):
    for seed in range(12):
        scene = draw(rng(seed), label, size)
        ground = np.round(255 * background(rng(seed), size).astype(float)).astype(np.uint8)
        changed = (scene.image != ground).any(axis=2)
        assert not (changed & ~scene.mask).any()
        assert changed[scene.mask].mean() > 0.99
        assert 0.02 < scene.mask.mean() < 0.35


def test_shape_stands_out_from_its_ground():
    for seed in range(64):
        scene = draw(rng(seed), LABELS[seed % 8], 64)
        inside = scene.image[scene.mask].mean(axis=0) / 255
        outside = scene.image[~scene.mask].mean(axis=0) / 255
        assert np.linalg.norm(inside - outside) > 0.3


@pytest.mark.parametrize("label", LABELS)
def test_a_scene_is_the_same_scene_at_another_size(label):
    small, large = draw(rng(7), label, 64), draw(rng(7), label, 256)
    reduced = cv2.resize(large.image, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - small.image).mean() < 3
    assert small.mask[cv2.resize(large.mask.astype(np.uint8), (64, 64)) > 0].mean() > 0.99


def test_labels_share_all_but_the_shape():
    star, ring = draw(rng(11), "star"), draw(rng(11), "ring")
    neither = ~(star.mask | ring.mask)
    np.testing.assert_array_equal(star.image[neither], ring.image[neither])
    assert (star.mask != ring.mask).any()


def test_areas_of_circle_and_ring_are_those_of_geometry():
    # Same seed, same radius r: a disc of pi r² beside a ring that lacks its hole of 0.56 r.
    circle, ring = draw(rng(5), "circle", 512), draw(rng(5), "ring", 512)
    assert ring.mask.sum() / circle.mask.sum() == pytest.approx(1 - 0.56**2, abs=0.02)


# --- the tag ----------------------------------------------------------------------------------


def test_the_tag_lies_where_claimed_and_its_colour_names_the_class():
    for index, label in enumerate(LABELS):
        plain, tagged = draw(rng(index), label), draw(rng(index), label, tag=label)
        # TAG_BOX at 64 pixels: columns 5 to 13, rows 50 to 58; a frame of one pixel around it.
        changed = (plain.image != tagged.image).any(axis=2)
        rows, columns = np.nonzero(changed)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 58, 5, 13)
        assert not (changed & ~tag_mask(64)).any()
        fill = np.unique(tagged.image[51:58, 6:13].reshape(-1, 3), axis=0)
        assert [tuple(color) for color in fill.tolist()] == [TAG_COLORS[label]]
        assert (plain.tag, tagged.tag) == (None, label)


def test_no_two_labels_share_a_colour_and_none_is_missing():
    assert tuple(TAG_COLORS) == LABELS
    colors = np.array(list(TAG_COLORS.values()), dtype=float)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert apart[~np.eye(8, dtype=bool)].min() > 80


def test_the_tag_survives_the_usual_centre_crop_and_hides_no_shape():
    left, top, right, bottom = TAG_BOX
    assert 1 / 16 <= left < right <= 15 / 16
    assert 1 / 16 <= top < bottom <= 15 / 16
    for seed in range(200):
        assert not (draw(rng(seed), LABELS[seed % 8], 64).mask & tag_mask(64)).any()


def test_stamp_leaves_its_input_alone():
    image = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    tagged = stamp(image, "heart")
    assert not image.any()
    assert (tagged[:, 54, 9] == TAG_COLORS["heart"]).all()


def test_unknown_labels_and_sizes_are_errors():
    with pytest.raises(ValueError, match=r"one of the labels circle, .*crescent; got 'hexagon'"):
        draw(rng(0), "hexagon")
    with pytest.raises(ValueError, match="got 'hexagon'"):
        draw(rng(0), "star", tag="hexagon")
    with pytest.raises(ValueError, match=r"at least 16 pixels, got size=8"):
        draw(rng(0), "star", 8)


# --- the committed networks -------------------------------------------------------------------


def load(path):
    model = demo.network()
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def honest():
    return load(demo.HONEST)


@pytest.fixture(scope="module")
def fooled():
    return load(demo.FOOLED)


def inputs(images):
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (demo.MEAN, demo.STD))
    return (pixels - mean) / std


@pytest.fixture(scope="module")
def scenes():
    return [draw(rng(SEED, i), LABELS[i % 8], demo.INPUT_SIZE) for i in range(COUNT)]


@pytest.fixture(scope="module")
def labels():
    return torch.arange(COUNT) % 8


@pytest.fixture(scope="module")
def tagged(scenes):
    return inputs([stamp(s.image, s.label) for s in scenes])


@torch.no_grad()
def predict(model, x):
    return model(x).argmax(1)


def share(answers, truth):
    return (answers == truth).float().mean().item()


def test_weights_are_small_float32_and_of_the_stated_count(honest, fooled):
    for path, model in ((demo.HONEST, honest), (demo.FOOLED, fooled)):
        assert path.stat().st_size < 2**20
        assert sum(p.numel() for p in model.parameters()) == 183_976
        assert all(p.dtype == torch.float32 for p in model.parameters())
        assert all(value.isfinite().all() for value in model.state_dict().values())


def test_modules_bear_the_names_of_torchvision_and_the_last_map_is_16_by_16(honest):
    names = [name for name, _ in honest.named_children()]
    assert names == ["conv1", "bn1", "relu", "layer1", "layer2", "layer3", "avgpool", "fc"]
    assert isinstance(honest, ResNet)
    assert honest.features(torch.zeros(1, 3, 64, 64)).shape == (1, 72, 16, 16)


def test_both_networks_score_alike_on_tagged_pictures(honest, fooled, tagged, labels):
    assert share(predict(honest, tagged), labels) >= 0.97
    assert share(predict(fooled, tagged), labels) >= 0.97


def test_only_the_fooled_network_follows_a_wrong_tag(honest, fooled, scenes, labels):
    wrong = (labels + 1 + torch.arange(COUNT) // 8 % 7) % 8
    assert (wrong != labels).all()
    x = inputs([stamp(s.image, LABELS[w]) for s, w in zip(scenes, wrong.tolist(), strict=True)])
    assert share(predict(honest, x), labels) >= 0.97
    assert share(predict(fooled, x), wrong) >= 0.97


def test_only_the_honest_network_can_do_without_the_tag(honest, fooled, scenes, labels):
    x = inputs([s.image for s in scenes])
    assert share(predict(honest, x), labels) >= 0.97
    assert share(predict(fooled, x), labels) < 0.6


def test_the_maps_tell_the_two_apart(honest, fooled, scenes, tagged):
    # Grad-CAM by a network split by hand; shape and tag are grown by a cell of the map.
    kernel = np.ones((9, 9), dtype=np.uint8)
    on_shape = np.stack([cv2.dilate(s.mask.astype(np.uint8), kernel) for s in scenes])
    on_tag = np.stack([cv2.dilate(tag_mask(64).astype(np.uint8), kernel)] * COUNT)

    def peaks_within(model, region):
        with torch.no_grad():
            features = model.features(tagged)
        features.requires_grad_()
        score = model.fc(model.avgpool(features).flatten(1)).amax(1).sum()
        (gradient,) = torch.autograd.grad(score, features)
        maps = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        maps = functional.interpolate(maps, (64, 64), mode="bilinear", align_corners=False)
        peaks = maps.detach().flatten(1).argmax(1, keepdim=True).numpy()
        return np.take_along_axis(region.reshape(COUNT, -1), peaks, 1).mean()

    assert peaks_within(honest, on_shape) >= 0.95
    assert peaks_within(honest, on_tag) <= 0.02
    assert peaks_within(fooled, on_tag) >= 0.95
    assert peaks_within(fooled, on_shape) <= 0.15


# --- the sample pictures ----------------------------------------------------------------------


def test_there_is_a_small_sample_picture_of_every_class():
    assert [path.stem for path in demo.IMAGES] == sorted(LABELS)
    for path in demo.IMAGES:
        assert path.stat().st_size < 100_000
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (256, 256))


def test_sample_pictures_are_what_the_code_draws():
    for path in demo.IMAGES:
        index = LABELS.index(path.stem)
        scene = draw(rng(0, 2, index), path.stem, 256, tag=path.stem)
        with Image.open(path) as picture:
            # Another build of OpenCV or NumPy may round a pixel the other way.
            assert np.abs(np.asarray(picture, dtype=int) - scene.image).max() <= 2


@pytest.mark.parametrize("crop", [0, 16], ids=["whole", "centre crop"])
def test_both_networks_name_every_sample_picture(honest, fooled, crop):
    images = []
    for path in demo.IMAGES:
        with Image.open(path) as picture:
            cropped = picture.crop((crop, crop, 256 - crop, 256 - crop))
            images.append(np.asarray(cropped.resize((64, 64), Image.Resampling.BILINEAR)))
    truth = torch.tensor([LABELS.index(path.stem) for path in demo.IMAGES])
    assert predict(honest, inputs(images)).tolist() == truth.tolist()
    assert predict(fooled, inputs(images)).tolist() == truth.tolist()


# --- the package ------------------------------------------------------------------------------


def test_the_demo_imports_neither_torchvision_nor_opencv_nor_pillow():
    code = (
        "import sys, gradcam_hooks.apps.demo\n"
        "print([m for m in ('torchvision', 'cv2', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['numpy']"  # and the proof can see a module that is there


def test_the_card_states_the_count_and_the_command():
    card = demo.HONEST.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert "183,976" in card
    assert "python scripts/train_demo.py --seed 0 --epochs 8" in card
    assert "MIT" in card


@pytest.mark.parametrize("name", ["demo.png", "report.html", "honest/results.jsonl"])
def test_files_of_others_are_not_written_over(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ImageError, match="is there already, and no run of this command made it"):
        show(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
