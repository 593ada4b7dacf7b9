"""Anybody's preprocessing: its tensor is taken as it is, and its place on the picture is found."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

import gradcam_hooks as gh
from gradcam_hooks.images import Geometry, Preprocess
from gradcam_hooks.images.foreign import Located, tensor_of
from gradcam_hooks.images.given import as_prepare, input_shape

Plain = Callable[[Image.Image], object]
TENSOR = v1.ToTensor()


def photograph(width: int = 451, height: int = 300) -> Image.Image:
    """Not of one colour anywhere, and nowhere alike."""
    image = Image.effect_mandelbrot((width, height), (-1.6, -1.1, 0.6, 0.9), 60).convert("RGB")
    draw = ImageDraw.Draw(image)
    for i in range(9):
        x, y = width * (i * 37 % 100) // 100, height * (i * 61 % 100) // 100
        box = (x, y, x + width // 8, y + height // 6)
        draw.ellipse(box, fill=(28 * i, 255 - 28 * i, 90 * i % 256))
    return image


def letterboxed(image: Image.Image) -> Tensor:
    small = image.resize((224, 149))
    canvas = Image.new("RGB", (224, 224), (114, 114, 114))
    canvas.paste(small, (0, 37))
    return TENSOR(canvas)


def as_opencv(image: Image.Image) -> np.ndarray:
    """BGR up to 255 less a mean, height and width first, as older networks take it."""
    pixels = np.asarray(image.resize((64, 48)), np.float32)[..., ::-1]
    return pixels - np.array([103.9, 116.8, 123.7], np.float32)


def shape(*steps: Plain) -> v1.Compose:
    return v1.Compose([*steps, TENSOR])


CASES: dict[str, tuple[Plain, tuple[float, float], tuple[float, float]]] = {
    "preset": (
        torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms(),
        (300 / 256, 451 / 384),
        (16 * 300 / 256, 80 * 451 / 384),
    ),
    "squash": (shape(v1.Resize((224, 200))), (300 / 224, 451 / 200), (0, 0)),
    "as it is": (TENSOR, (1, 1), (0, 0)),
    "crop": (shape(v1.CenterCrop(200)), (1, 1), (50, 126)),
    "crop, then resize": (
        lambda image: TENSOR(image.crop((100, 50, 300, 250)).resize((224, 224))),
        (200 / 224, 200 / 224),
        (50, 100),
    ),
    "padding": (shape(v1.Pad(30), v1.Resize((224, 224))), (360 / 224, 511 / 224), (-30, -30)),
    "letterbox": (letterboxed, (300 / 149, 451 / 224), (-37 * 300 / 149, 0)),
    "grey": (shape(v1.Grayscale(), v1.Resize((64, 64))), (300 / 64, 451 / 64), (0, 0)),
    "negative": (shape(v1.Resize((96, 96)), v1.RandomInvert(1.0)), (300 / 96, 451 / 96), (0, 0)),
    "opencv": (as_opencv, (300 / 48, 451 / 64), (0, 0)),
    "tensors": (
        v2.Compose(
            [
                v2.ToImage(),
                v2.Resize(100, antialias=True),
                v2.CenterCrop((100, 90)),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
            ]
        ),
        (3, 451 / 150),
        (0, 30 * 451 / 150),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_place_of_an_input_is_found(name: str) -> None:
    given, scale, offset = CASES[name]
    pixels, geometry = Located(given)(photograph())
    assert torch.equal(pixels, tensor_of(given(photograph())))
    assert geometry.original == (300, 451)
    assert geometry.input == tuple(pixels.shape[1:])
    assert geometry.scale == pytest.approx(scale, rel=1e-3)
    assert geometry.offset == pytest.approx(offset, abs=0.15)


@pytest.mark.parametrize("fit", ["squash", "crop", "letterbox"])
def test_what_is_found_of_the_librarys_own_is_what_it_says(fit: str) -> None:
    own = Preprocess((96, 128), fit=fit)  # type: ignore[arg-type]
    for size in ((451, 300), (120, 90), (1500, 1000)):
        pixels, geometry = own(photograph(*size))
        found = Located(lambda image: own(image)[0])(photograph(*size))[1]
        assert found.scale == pytest.approx(geometry.scale, rel=2e-3)
        assert found.offset == pytest.approx(geometry.offset, abs=0.3 * max(geometry.scale))
        assert pixels.shape == (3, 96, 128)


def test_what_draws_at_random_is_placed_where_it_drew() -> None:
    given = Located(shape(v1.RandomCrop(100)))
    image = photograph()
    torch.manual_seed(3)
    places = set()
    for _ in range(3):
        pixels, geometry = given(image)
        top, left = map(int, geometry.offset)
        assert torch.equal(pixels, TENSOR(image.crop((left, top, left + 100, top + 100))))
        places.add((top, left))
    assert len(places) == 3  # and the next draw is another


def test_the_random_numbers_of_others_are_where_they_would_be() -> None:
    def noisy(image: Image.Image) -> Tensor:
        return TENSOR(image) + 0 * torch.rand(1) + 0 * random.random() + 0 * float(np.random.rand())

    def state() -> list[float]:
        return [float(torch.rand(1)), random.random(), float(np.random.rand())]

    def seeded() -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)

    seeded()
    noisy(photograph())
    noisy(photograph())  # the second asks whether it draws
    expected = state()
    seeded()
    Located(noisy)(photograph())
    assert state() == expected


def test_a_size_is_looked_at_once() -> None:
    calls = []

    def counted(image: Image.Image) -> Tensor:
        calls.append(image.size)
        return TENSOR(image.resize((32, 32)))

    given = Located(counted)
    given(photograph())
    first = len(calls)
    given(photograph())
    assert len(calls) == first + 1
    given(photograph(100, 80))
    assert len(calls) == 2 * first + 1


def by_content(image: Image.Image) -> Tensor:
    """Cuts out another part of a dark picture."""
    dark = np.asarray(image, float).mean() < 100
    return TENSOR(image.crop((251, 100, 451, 300) if dark else (0, 0, 200, 200)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (shape(v1.RandomRotation((30, 30))), "turns the picture"),
        (shape(v1.RandomHorizontalFlip(1.0)), "mirrors or turns"),
        (shape(v1.RandomPerspective(0.6, 1.0)), "bends or turns"),
        (shape(v1.RandomEqualize(1.0)), "shades of a picture by what is in it"),
        (lambda image: torch.ones(3, 8, 8), "shows nothing of the picture"),
        (lambda image: torch.rand(3, 8, 8, generator=GENERATOR), "draws at random in a way"),
    ],
)
def test_what_has_no_place_is_told(given: Plain, told: str) -> None:
    with pytest.raises(gh.InputError, match=rf"cannot be told: .* {told}.*preprocess\(picture\)"):
        Located(given)(photograph())


GENERATOR = torch.Generator().manual_seed(0)


def test_what_looks_at_the_picture_to_choose_a_place_is_told() -> None:
    given = Located(by_content)
    light, dark = photograph().point(lambda x: 128 + x // 2), photograph().point(lambda x: x // 3)
    assert given(light)[1].offset == (0, 0)
    with pytest.raises(gh.InputError, match="looks at what is in the picture"):
        given(dark)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (v1.Resize(8), r"returned a Image; put ToTensor\(\) at its end"),
        (lambda image: torch.zeros(3, 4, 4, dtype=torch.uint8), r"floating-point.*torch\.uint8"),
        (lambda image: torch.zeros(2, 3, 4, 4), r"\(2, 3, 4, 4\) of torch\.float32"),
        (lambda image: {"x": 1}, "returned a dict"),
        (v1.Normalize(0.5, 0.5), r"preprocess= fails on a picture: .*called with a PIL picture"),
        (lambda image: sys.exit(3), "preprocess= fails on a picture: SystemExit: 3"),
    ],
)
def test_what_is_no_input_is_told(given: Plain, told: str) -> None:
    with pytest.raises(gh.InputError, match=told):
        Located(given)(photograph())


def test_nothing_that_cannot_be_called_is_a_preprocessing() -> None:
    with pytest.raises(
        gh.InputError, match=r"any callable from a PIL picture to a tensor, not int"
    ):
        as_prepare(3)  # type: ignore[arg-type]


def test_one_may_tell_the_place_oneself() -> None:
    there = Geometry((300, 451), (8, 8), (2.0, 2.0), (5.0, 7.0))

    def mirrored(image: Image.Image) -> tuple[Tensor, Geometry]:
        return torch.zeros(3, 8, 8), there

    assert Located(mirrored)(photograph())[1] == there


def test_an_image_processor_of_transformers_is_called_in_its_way() -> None:
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": 48, "width": 64})
    pixels, geometry = Located(processor)(photograph())
    assert torch.equal(
        pixels, processor(images=photograph(), return_tensors="pt")["pixel_values"][0]
    )
    assert geometry == Geometry.stretched((300, 451), (48, 64))
    with_text = type("Processor", (ViTImageProcessor,), {"image_processor": processor})
    assert torch.equal(Located(with_text())(photograph())[0], pixels)


def test_an_albumentations_pipeline_is_called_in_its_way() -> None:
    class Pipeline:
        """It takes and gives arrays by keyword, as albumentations' Compose does."""

        def __call__(self, *, image: np.ndarray) -> dict[str, np.ndarray]:
            small = Image.fromarray(image).resize((40, 30))
            return {"image": np.asarray(small, np.float32) / 255}

    Pipeline.__module__ = "albumentations.core.composition"
    pixels, geometry = Located(Pipeline())(photograph())
    assert pixels.shape == (3, 30, 40)
    assert geometry == Geometry.stretched((300, 451), (30, 40))


def test_the_shape_of_the_inputs_is_known_ahead() -> None:
    assert input_shape(Preprocess((8, 12), mean=(0.5,), std=(0.5,))) == (1, 8, 12)
    assert input_shape(as_prepare(shape(v1.Resize(32), v1.CenterCrop((16, 24))))) == (3, 16, 24)


def test_a_map_lies_where_the_callers_transform_looked() -> None:
    """A white square on black, seen through a crop: the map of brightness is the square's place."""
    image = Image.new("RGB", (1600, 400))
    image.paste((255, 255, 255), (900, 150, 1000, 250))
    net = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(net[0].weight, 1.0)
    own = v1.Compose([v1.Resize(256), v1.CenterCrop(224), TENSOR])
    result = gh.explain(net, image, "0", target=0, preprocess=own)
    ((left, top, right, bottom),) = result.boxes(0.5)[0]
    assert (left, top, right, bottom) == pytest.approx((900, 150, 975, 250), abs=3)  # cut at 975
    tensor = gh.explain(net, own(image)[None], "0", target=0)
    with pytest.raises(
        gh.InputError, match=r"400x1600 .* explained 224x224: whether it was cropped"
    ):
        tensor.overlay(image)
    assert tensor.overlay(image.resize((224, 224))).size == (224, 224)
    small = result.overlay(image.resize((800, 200)), alpha=1)
    assert small.size == (800, 200)
