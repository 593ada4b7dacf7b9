"""What a network tells of its preprocessing is taken, and what was assumed is said."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import gradcam_hooks as gh
from gradcam_hooks.images import IMAGENET_MEAN, Preprocess
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.presets import own_preprocess
from tests.support.nets import gap_linear


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def grey(channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def test_a_timm_network_is_given_what_its_configuration_says(picture: Path) -> None:
    import timm

    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=5).eval()
    own = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
    result = gh.explain(net, picture, target=0)
    assert torch.equal(result.scores, gh.explain(net, picture, target=0, preprocess=own).scores)
    assert any("pretrained_cfg" in note and "0.5" in note for note in result.notes)


def test_a_timm_transformer_that_was_made_for_another_size_is_given_that(picture: Path) -> None:
    import timm

    net = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), num_classes=5).eval()
    assert gh.explain(net, picture).image.shape[2:] == (64, 96)
    swin = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, num_classes=5).eval()
    assert gh.explain(swin, picture).image.shape[2:] == (64, 64)


def test_a_folder_of_transformers_brings_its_processor(tmp_path: Path, picture: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    processor = ViTImageProcessor(size={"height": 32, "width": 48}, image_mean=[0.1] * 3)
    processor.save_pretrained(tmp_path)
    net = ResNetForImageClassification.from_pretrained(tmp_path).eval()
    result = gh.explain(net, picture, "resnet.encoder.stages.1", target=0)
    pixels = processor(images=Image.open(picture), return_tensors="pt")["pixel_values"]
    assert torch.equal(result.scores, net(pixels).logits[:, 0].detach())
    assert any(str(tmp_path) in note for note in result.notes)
    assert result.overlay().size == (64, 48)


def test_a_detector_is_given_the_picture_as_it_is(picture: Path) -> None:
    net = nn.Identity()
    net.transform = type("GeneralizedRCNNTransform", (), {})()
    prepare, told = own_preprocess(net)
    pixels, geometry = prepare(Image.open(picture))
    assert torch.equal(pixels, transforms.ToTensor()(Image.open(picture)))
    assert (geometry.scale, geometry.offset) == ((1, 1), (0, 0))
    assert "this detector resizes it itself" in told


def test_where_nothing_is_told_what_was_assumed_is_said(picture: Path) -> None:
    result = gh.explain(grey(3), picture, "1")
    assert result.notes == (
        "Nothing tells how this network's pictures are made ready; assumed was what ImageNet's "
        "networks take: squash to 224 x 224, bilinear, mean 0.485, 0.456, 0.406, std 0.229, "
        "0.224, 0.225. preprocess= says another.",
    )
    assert gh.explain(grey(3), picture, "1", preprocess=Preprocess()).notes == ()
    assert gh.explain(grey(3), torch.rand(1, 3, 8, 8), "1").notes == ()


def test_the_size_that_a_network_fixes_is_taken() -> None:
    net = grey(3)
    net.config = SimpleNamespace(image_size=32)
    assert own_preprocess(net)[0] == Preprocess((32, 32))
    net.config = SimpleNamespace(image_size=[32, 48])
    assert own_preprocess(net)[0] == Preprocess((32, 48))


def test_a_network_of_one_channel_is_given_grey(picture: Path) -> None:
    net = grey()
    result = gh.explain(net, picture, "1", target=1)
    image = Image.open(picture).convert("L").resize((224, 224), Image.Resampling.BILINEAR)
    mean, std = own_preprocess(net)[0].mean, own_preprocess(net)[0].std
    assert mean == pytest.approx((sum(IMAGENET_MEAN) / 3,))
    pixels: Tensor = transforms.Normalize(mean, std)(transforms.ToTensor()(image))[None]
    assert torch.allclose(result.scores, net(pixels)[:, 1], atol=1e-5)
    told = Preprocess((24, 32), fit="letterbox", mean=(0.5,), std=(0.25,))
    assert gh.explain(net, picture, "1", target=1, preprocess=told).maps.shape == (1, 24, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (123.675, 116.28, 103.53)}, r"pixels in \[0, 1\].*write 0\.485, 0\.456, 0\.406"),
        ({"std": (58.395, 57.12, 57.375)}, r"write 0\.229, 0\.224, 0\.225"),
        ({"mean": (0.5,)}, r"of as many channels"),
        ({"mean": (0.5, 0.5)}, r"of as many channels"),
    ],
)
def test_numbers_of_other_pixels_are_told(
    fields: dict[str, tuple[float, ...]], message: str
) -> None:
    with pytest.raises(gh.InputError, match=message):
        Preprocess(**fields)  # type: ignore[arg-type]


def test_bytes_and_opened_files_are_pictures(picture: Path) -> None:
    net, by_path = grey(3), gh.explain(grey(3), picture, "1", target=1)
    data = picture.read_bytes()
    with picture.open("rb") as opened:
        for given in (data, bytearray(data), io.BytesIO(data), opened):
            result = gh.explain(net, given, "1", target=1)
            assert torch.equal(result.raw, by_path.raw)
    assert gh.explain(net, [data, picture], "1", target=1).overlay().height > 96
    with pytest.raises(gh.ImageError, match="the picture of 3 bytes' is no picture"):
        gh.explain(net, b"abc", "1")


def test_pictures_of_one_batch_have_one_size(picture: Path) -> None:
    wide = Image.new("RGB", (80, 48))
    with pytest.raises(gh.InputError, match=r"\(3, 48, 64\), \(3, 48, 80\).*one by one"):
        gh.explain(grey(3), [picture, wide], "1", preprocess=transforms.ToTensor())


def test_what_was_loaded_is_explained_with_its_labels_and_preprocessing(picture: Path) -> None:
    net, own = gap_linear(3).float(), Preprocess((16, 24), mean=(0, 0, 0), std=(1, 1, 1))
    loaded = LoadedModel(net, "mine", "best.pth", ("ant", "bee", "cat"), own)
    result = gh.explain(loaded, picture, "1", target="bee")
    alone = gh.explain(net, picture, "1", target=1, preprocess=own)
    assert torch.equal(result.raw, alone.raw)
    assert (result.labels, result.notes) == (loaded.labels, ())
    with gh.LayerCAM(loaded, "1", labels=["x", "y", "z"]) as cam:
        assert cam(picture, target="y").maps.shape == (1, 16, 24)
    assert gh.compare(loaded, picture, layers=["1"], targets=["ant", "cat"]).shape == (1, 1, 2)
