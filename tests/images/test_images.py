"""Pictures of every kind become the RGB a viewer shows; preprocessing is torchvision's, to the bit.

Real photographs come with scikit-image and scikit-learn; rare modes are files made by Pillow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn.datasets
import torch
from PIL import Image, ImageFile
from torchvision import transforms

from gradcam_hooks.errors import GradCamHooksError, ImageError, InputError
from gradcam_hooks.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Geometry,
    Preprocess,
    blend,
    load_image,
    save_image,
    to_float,
)

PHOTOS = Path(skimage.__file__).parent / "data"  # the few that are shipped with the package
PHOTO_NAMES = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png"]

COLOURS = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[255, 255, 0], [10, 20, 30], [200, 100, 50]],
    ],
    dtype=np.uint8,
)


def array(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


class TestLoad:
    @pytest.mark.parametrize("name", PHOTO_NAMES)
    def test_photographs(self, name: str) -> None:
        with Image.open(PHOTOS / name) as plain:
            expected = np.asarray(plain.convert("RGB"))
            np.testing.assert_array_equal(array(load_image(plain)), expected)
        np.testing.assert_array_equal(array(load_image(PHOTOS / name)), expected)
        np.testing.assert_array_equal(array(load_image(str(PHOTOS / name))), expected)

    def test_grey_becomes_three_equal_channels(self) -> None:
        rgb = array(load_image(PHOTOS / "camera.png"))
        assert rgb.shape == (512, 512, 3)
        assert (rgb[..., :1] == rgb).all()

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".gif", ".webp"])
    def test_lossless_formats(self, tmp_path: Path, suffix: str) -> None:
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(COLOURS).save(tmp_path / f"a{suffix}", **options)
        np.testing.assert_array_equal(array(load_image(tmp_path / f"a{suffix}")), COLOURS)

    def test_one_bit(self, tmp_path: Path) -> None:
        bits = np.array([[True, False, True]])
        Image.fromarray(bits).save(tmp_path / "a.png")
        assert array(load_image(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 0, 255]

    def test_alpha_is_composited_on_white(self, tmp_path: Path) -> None:
        # Red at a half: 128/255 of red over white leaves 255 * (1 - 128/255) = 127 of green, blue.
        pixels = np.array([[[255, 0, 0, 128], [9, 9, 9, 0], [9, 8, 7, 255]]], dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        expected = [[255, 127, 127], [255, 255, 255], [9, 8, 7]]
        assert array(load_image(tmp_path / "a.png"))[0].tolist() == expected

    def test_grey_with_alpha(self, tmp_path: Path) -> None:
        pixels = np.array([[[0, 51], [100, 0], [100, 255]]], dtype=np.uint8)
        image = Image.fromarray(pixels)
        assert image.mode == "LA"
        image.save(tmp_path / "a.png")
        assert array(load_image(tmp_path / "a.png"))[0, :, 1].tolist() == [204, 255, 100]

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 10, 20])
        image.putpixel((1, 0), 1)
        image.save(tmp_path / "plain.png")
        image.save(tmp_path / "one_colour.png", transparency=0)
        image.save(tmp_path / "each_its_own.png", transparency=bytes([255, 51]))
        image.save(tmp_path / "one_colour.gif", transparency=1)
        seen = {path.name: array(load_image(path))[0].tolist() for path in tmp_path.iterdir()}
        assert seen == {
            "plain.png": [[255, 0, 0], [0, 10, 20]],
            "one_colour.png": [[255, 255, 255], [0, 10, 20]],
            "each_its_own.png": [[255, 0, 0], [204, 206, 208]],
            "one_colour.gif": [[255, 0, 0], [255, 255, 255]],
        }

    def test_palette_with_alpha_in_memory(self) -> None:
        image = Image.new("PA", (1, 1))
        image.putpalette([255, 0, 0])
        image.putpixel((0, 0), (0, 51))
        assert array(load_image(image)).tolist() == [[[255, 204, 204]]]

    def test_a_colour_key_is_transparent_too(self, tmp_path: Path) -> None:
        Image.fromarray(COLOURS).save(tmp_path / "a.png", transparency=(10, 20, 30))
        expected = COLOURS.copy()
        expected[1, 1] = 255
        np.testing.assert_array_equal(array(load_image(tmp_path / "a.png")), expected)

    def test_an_animation_gives_its_first_frame(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "lime")]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert array(load_image(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]

    def test_cmyk_jpeg(self, tmp_path: Path) -> None:
        # Printers' inks: cyan takes away red. JPEG is lossy, hence plain areas and a tolerance.
        image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        image.save(tmp_path / "cyan.jpg", quality=100)
        image.save(tmp_path / "cyan.tif")
        for name in ("cyan.jpg", "cyan.tif"):
            with Image.open(tmp_path / name) as opened:
                assert opened.mode == "CMYK"
            assert np.abs(array(load_image(tmp_path / name)) - np.array([0.0, 255, 255])).max() <= 3

    def test_a_cmyk_jpeg_as_photoshop_writes_it(self, tmp_path: Path) -> None:
        # Adobe stores the inks inverted and says so in an APP14 segment (transform 0); Pillow
        # always writes inverted CMYK, with such a segment, and inverts when it reads one.
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
        assert b"Adobe" in (tmp_path / "red.jpg").read_bytes()
        assert np.abs(array(load_image(tmp_path / "red.jpg")) - np.array([255.0, 0, 0])).max() <= 3

    def test_other_colour_spaces(self) -> None:
        red = Image.new("RGB", (2, 2), (200, 30, 40))
        for mode in ("YCbCr", "HSV"):
            pixels = array(load_image(red.convert(mode)))
            assert np.abs(pixels - np.array([200.0, 30, 40])).max() <= 3

    def test_a_second_time_changes_nothing(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif, transparency=(255, 255, 0))
        once = load_image(tmp_path / "a.png")
        np.testing.assert_array_equal(array(load_image(once)), array(once))
        assert once.info == {}

    def test_no_metadata_is_carried_on(self) -> None:
        with Image.open(PHOTOS / "rocket.jpg") as plain:
            assert "jfif" in plain.info
        assert load_image(PHOTOS / "rocket.jpg").info == {}

    def test_the_picture_that_is_given_is_left_alone(self) -> None:
        image = Image.new("P", (2, 2))
        image.info["transparency"] = 0
        load_image(image)
        assert image.mode == "P"
        assert image.info == {"transparency": 0}
        rgb = Image.new("RGB", (2, 2))
        load_image(rgb).putpixel((0, 0), (1, 2, 3))
        assert rgb.getpixel((0, 0)) == (0, 0, 0)


class TestDeepGrey:
    def test_16_bit_png_is_scaled_not_clipped(self, tmp_path: Path) -> None:
        values = np.array([[0, 128, 257, 1000, 32896, 65535]], dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as opened:
            assert opened.mode.startswith("I")
        # 128 / 257 = 0.498 and 1000 / 257 = 3.89; Pillow's own convert gives 128, 255, 255, ...
        expected = [0, 0, 1, 4, 128, 255]
        assert array(load_image(tmp_path / "a.png"))[0, :, 2].tolist() == expected

    @pytest.mark.parametrize("suffix", [".tif", ".pgm"])
    def test_16_bit_in_other_files(self, tmp_path: Path, suffix: str) -> None:
        values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
        if suffix == ".pgm":
            header = b"P5\n4 1\n65535\n"
            (tmp_path / "a.pgm").write_bytes(header + values.astype(">u2").tobytes())
        else:
            Image.fromarray(values).save(tmp_path / "a.tif")
        assert array(load_image(tmp_path / f"a{suffix}"))[0, :, 0].tolist() == [0, 1, 128, 255]

    def test_a_dark_16_bit_picture_stays_dark(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((2, 2), 200, np.uint16)).save(tmp_path / "a.png")
        assert array(load_image(tmp_path / "a.png")).max() == 1

    def test_a_grey_key_in_16_bit(self, tmp_path: Path) -> None:
        values = np.array([[0, 500, 65535]], dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "a.png", transparency=500)
        assert array(load_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 255, 255]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.25, 1.0], [0, 64, 255]),  # in [0, 1]: 63.75 rounds to 64
            ([0.0, 0.1, 0.5], [0, 26, 128]),  # no stretching within the range
            ([0.0, 63.6, 200.0], [0, 64, 200]),  # in [0, 255]: as it is
            ([-1.0, 0.0, 3.0], [0, 64, 255]),  # any other range: by its ends
            ([1000.0, 2000.0, 3000.0], [0, 128, 255]),
            ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ],
    )
    def test_float_tiff(self, tmp_path: Path, values: list[float], expected: list[int]) -> None:
        Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
        with Image.open(tmp_path / "a.tif") as opened:
            assert opened.mode == "F"
        assert array(load_image(tmp_path / "a.tif"))[0, :, 0].tolist() == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 257, 65535], [0, 1, 255]),
            ([-100, 0, 100], [0, 128, 255]),
            ([0, 35000, 70000], [0, 128, 255]),
        ],
    )
    def test_32_bit_integers(self, tmp_path: Path, values: list[int], expected: list[int]) -> None:
        Image.fromarray(np.array([values], np.int32)).save(tmp_path / "a.tif")
        assert array(load_image(tmp_path / "a.tif"))[0, :, 0].tolist() == expected

    def test_pixels_that_are_no_numbers(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[0.0, np.nan]], np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(ImageError, match=r"a\.tif' holds pixels that are NaN or infinite"):
            load_image(tmp_path / "a.tif")


# What was done to the upright picture before it was stored, for each value of the EXIF tag.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),  # a viewer turns it clockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


class TestOrientation:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_each_is_turned_upright(self, tmp_path: Path, orientation: int, suffix: str) -> None:
        upright = array(load_image(PHOTOS / "chelsea.png").crop((100, 50, 196, 114)))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.ascontiguousarray(STORED[orientation](upright))
        options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}
        path = tmp_path / f"a{suffix}"
        Image.fromarray(stored).save(path, exif=exif, **options.get(suffix, {}))
        seen = array(load_image(path)).astype(int)
        assert seen.shape == (64, 96, 3)
        assert np.abs(seen - upright).max() <= (6 if suffix == ".jpg" else 0)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_an_open_picture_is_turned_too(self, tmp_path: Path, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.ascontiguousarray(STORED[orientation](COLOURS))
        Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            np.testing.assert_array_equal(array(load_image(opened)), COLOURS)


class TestRefusals:
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".bmp", ".tif", ".webp"])
    def test_a_truncated_file_is_never_half_read(
        self, tmp_path: Path, suffix: str, share: float
    ) -> None:
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        path = tmp_path / f"half{suffix}"
        load_image(PHOTOS / "chelsea.png").save(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(
            ImageError, match=rf"half\{suffix}' is .*(cut short|no picture)"
        ) as caught:
            load_image(path)
        assert caught.value.__cause__ is not None
        assert isinstance(caught.value, GradCamHooksError)
        assert isinstance(caught.value, OSError)

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_an_open_truncated_picture(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"half{suffix}"
        load_image(PHOTOS / "chelsea.png").save(path)
        path.write_bytes(path.read_bytes()[:5000])
        with (
            Image.open(path) as opened,
            pytest.raises(ImageError, match=r"half\.\w+' is cut short"),
        ):
            load_image(opened)

    def test_text_in_a_picture_s_clothes(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.png"
        path.write_text("These are no pixels.")
        with pytest.raises(
            ImageError, match=r"notes\.png' is no picture .* whatever its suffix says"
        ):
            load_image(path)

    def test_a_missing_file_brings_the_nearest_name(self, tmp_path: Path) -> None:
        Image.new("RGB", (1, 1)).save(tmp_path / "kitten.png")
        with pytest.raises(
            ImageError, match=r"no file '.*kiten\.png'; did you mean '.*kitten\.png'"
        ):
            load_image(tmp_path / "kiten.png")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="is a folder, expected one picture; list_images"):
            load_image(tmp_path)

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").touch()
        with pytest.raises(ImageError, match=r"a\.png' is empty \(0 bytes\)"):
            load_image(tmp_path / "a.png")

    def test_a_name_no_system_takes(self) -> None:
        with pytest.raises(ImageError, match=r"cannot be opened: .*null"):
            load_image("a\0b.png")

    @pytest.mark.parametrize("limit", [100, 60])  # from the limit on a warning, from twice an error
    def test_a_decompression_bomb(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
    ) -> None:
        Image.new("RGB", (11, 11)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(
            ImageError, match=r"a\.png' is too large to be read safely: .*121 pixels"
        ):
            load_image(tmp_path / "a.png")

    def test_neither_path_nor_picture(self) -> None:
        with pytest.raises(InputError, match="or a PIL picture, got ndarray"):
            load_image(np.zeros((2, 2, 3)))  # type: ignore[arg-type]


def photographs() -> list[Image.Image]:
    """Wide, tall, square, grey, tiny."""
    chelsea = load_image(PHOTOS / "chelsea.png")
    china = Image.fromarray(sklearn.datasets.load_sample_images().images[0])
    return [
        chelsea,
        china.rotate(90, expand=True),
        load_image(PHOTOS / "astronaut.png"),
        load_image(PHOTOS / "camera.png"),
        chelsea.resize((37, 23)),
        chelsea.crop((0, 0, 451, 61)),
    ]


def reference(*steps: Callable[[Image.Image], Image.Image]) -> transforms.Compose:
    return transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )


class TestPreprocess:
    @pytest.mark.parametrize("size", [(224, 224), (96, 160), (299, 299)])
    def test_squash_is_torchvisions_resize_to_the_bit(self, size: tuple[int, int]) -> None:
        theirs = reference(transforms.Resize(size))
        for image in photographs():
            ours, geometry = Preprocess(size)(image)
            assert ours.dtype == torch.float32
            assert torch.equal(ours, theirs(image))
            assert geometry == Geometry.stretched((image.height, image.width), size)

    @pytest.mark.parametrize(
        ("size", "resize", "shorter"),
        [
            ((224, 224), None, 256),
            ((224, 224), 224, 224),
            ((299, 299), 342, 342),
            ((97, 160), 171, 171),
            ((112, 84), None, 128),
        ],
    )
    def test_crop_is_resize_and_centercrop_to_the_bit(
        self, size: tuple[int, int], resize: int | None, shorter: int
    ) -> None:
        theirs = reference(transforms.Resize(shorter), transforms.CenterCrop(size))
        for image in photographs():
            ours, _ = Preprocess(size, fit="crop", resize=resize)(image)
            assert torch.equal(ours, theirs(image))

    def test_bicubic(self) -> None:
        cubic = transforms.InterpolationMode.BICUBIC
        theirs = reference(transforms.Resize(256, cubic), transforms.CenterCrop(224))
        image = photographs()[0]
        ours, _ = Preprocess(fit="crop", interpolation="bicubic")(image)
        assert torch.equal(ours, theirs(image))
        assert not torch.equal(ours, Preprocess(fit="crop")(image)[0])

    def test_letterbox_keeps_the_proportions_and_pads_with_the_mean(self) -> None:
        image = Image.new("RGB", (400, 100), (255, 255, 255))
        pixels, geometry = Preprocess((224, 224), fit="letterbox")(image)
        # 400 x 100 becomes 224 x 56, with (224 - 56) / 2 = 84 rows of padding above and below.
        white = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(pixels[:, 84:140], white[:, None, None].expand(3, 56, 224))
        assert (pixels[:, :84] == 0).all()
        assert (pixels[:, 140:] == 0).all()
        assert geometry.scale == (100 / 56, 400 / 224)
        assert geometry.offset == (-84 * 100 / 56, 0)
        assert geometry.seen == (0, 0, 400, 100)

    def test_letterbox_of_an_extreme_picture_keeps_one_row(self) -> None:
        pixels, geometry = Preprocess((32, 32), fit="letterbox")(
            Image.new("RGB", (1000, 2), "white")
        )
        assert (pixels != 0).any(dim=0).sum() == 32
        assert geometry.seen == (0, 0, 1000, 2)

    def test_the_geometry_of_a_crop_by_hand(self) -> None:
        # 600 x 400 is resized to 384 x 256, and 224 x 224 is cut out at (80, 16).
        _, geometry = Preprocess(fit="crop")(load_image(PHOTOS / "coffee.png"))
        assert geometry == Geometry(
            (400, 600), (224, 224), scale=(1.5625, 1.5625), offset=(25.0, 125.0)
        )
        assert geometry.seen == (125.0, 25.0, 475.0, 375.0)

    def test_any_picture_goes_through_load_image(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("LA", (40, 20), (0, 0)).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            pixels, geometry = Preprocess((8, 8), mean=(0, 0, 0), std=(1, 1, 1))(opened)
        assert geometry.original == (40, 20)
        assert (pixels == 1).all()

    def test_through_json_and_back(self) -> None:
        preprocess = Preprocess((96, 64), fit="crop", resize=100, std=(1, 1, 1))
        text = json.dumps(preprocess.to_dict())
        assert Preprocess(**json.loads(text)) == preprocess
        assert hash(Preprocess(**json.loads(text))) == hash(preprocess)
        assert json.loads(text)["size"] == [96, 64]

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"size": 224}, r"size must be \(height, width\), such as \(224, 224\); got 224"),
            ({"size": (224, 0)}, r"each number of size= is a whole number from 1 up, not 0"),
            ({"size": (224, 22.5)}, r"a whole number from 1 up, not 22\.5"),
            ({"fit": "stretch"}, "fit= is one of 'squash', 'crop', 'letterbox', not 'stretch'"),
            ({"interpolation": "cubic"}, "interpolation= is one of 'bilinear', 'bicubic'"),
            ({"mean": 0.5}, "mean must be"),
            ({"mean": (0.5, 0.5)}, "mean and std are of as many channels"),
            ({"mean": ()}, "mean must be a number for each channel"),
            ({"std": (1, 1, float("nan"))}, "std must be finite"),
            ({"std": (1, 0, 1)}, "std divides the pixels and must be positive"),
            ({"resize": 256}, "resize is for fit='crop'; with fit='squash' leave it out"),
            (
                {"fit": "crop", "resize": 200},
                r"crop of \(224, 224\), is a whole number from 224 up",
            ),
        ],
    )
    def test_fields_out_of_their_range(self, fields: dict[str, object], text: str) -> None:
        with pytest.raises(InputError, match=text):
            Preprocess(**fields)  # type: ignore[arg-type]


class TestThereAndBack:
    """A bright block on a dark picture, through preprocessing, and the map put back."""

    PREPROCESSES = (
        Preprocess((64, 64)),
        Preprocess((48, 80)),
        Preprocess((64, 64), fit="crop"),
        Preprocess((64, 64), fit="crop", resize=64),
        Preprocess((48, 80), fit="crop"),
        Preprocess((64, 64), fit="letterbox"),
        Preprocess((48, 80), fit="letterbox"),
    )

    @pytest.mark.parametrize("preprocess", PREPROCESSES)
    @pytest.mark.parametrize(("height", "width"), [(200, 320), (320, 200), (41, 50), (240, 240)])
    @pytest.mark.parametrize("turned", [False, True])
    def test_the_peak_falls_on_the_block(
        self, tmp_path: Path, preprocess: Preprocess, height: int, width: int, turned: bool
    ) -> None:
        # Off the centre, yet inside every crop.
        block = (
            slice(height // 2, height // 2 + height // 8),
            slice(width // 3, width // 3 + width // 8),
        )
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[block] = 255
        exif = Image.Exif()
        if turned:
            pixels, exif[0x0112] = np.rot90(pixels, 1), 6
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "a.png", exif=exif)

        inputs, geometry = preprocess(load_image(tmp_path / "a.png"))
        assert geometry.original == (height, width)
        # Lightness from 0 (black) to 1; the letterbox's padding would be 0.4 or so.
        black = (-torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)).mean()
        lightness = inputs.mean(dim=0) - black
        placed = geometry.place(lightness / lightness.max())

        assert placed.shape == (height, width)
        bright = np.argwhere(placed > 0.5)
        for axis in (0, 1):
            slack = max(1.0, geometry.scale[axis])  # a pixel of the input
            assert abs(bright[:, axis].min() - block[axis].start) <= slack
            assert abs(bright[:, axis].max() + 1 - block[axis].stop) <= slack
            peak = np.unravel_index(placed.argmax(), placed.shape)[axis]
            assert block[axis].start - slack <= peak <= block[axis].stop + slack

    def test_the_photograph_itself_comes_back(self) -> None:
        # With more pixels than the original has, hardly anything is lost on the way.
        image = load_image(PHOTOS / "chelsea.png")
        grey = to_float(image).mean(axis=2)
        inputs, geometry = Preprocess((800, 700), mean=(0, 0, 0), std=(1, 1, 1))(image)
        assert np.abs(geometry.place(inputs.mean(dim=0)) - grey).mean() < 0.01

    def test_a_crop_shown_on_the_original(self) -> None:
        image = load_image(PHOTOS / "coffee.png")
        _, geometry = Preprocess(fit="crop")(image)
        seen = geometry.seen_mask()
        heat = geometry.place(np.ones(geometry.input))
        mixed = blend(to_float(image), heat, alpha=0.5, colormap="hot", seen=seen)
        np.testing.assert_array_equal(mixed[~seen], to_float(image)[~seen])
        assert seen.sum() == 350 * 350
        inside = mixed[27:373, 127:473]
        np.testing.assert_allclose(inside, to_float(image)[27:373, 127:473] / 2 + 0.5, atol=1e-6)


class TestSave:
    @pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif"])
    def test_lossless(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / "new" / f"layer4.0{suffix}"
        save_image(path, COLOURS / 255)
        np.testing.assert_array_equal(array(load_image(path)), COLOURS)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    def test_jpeg_keeps_colours_apart(self, tmp_path: Path) -> None:
        photo = to_float(load_image(PHOTOS / "astronaut.png"))
        save_image(tmp_path / "a.jpg", photo)
        with Image.open(tmp_path / "a.jpg") as opened:
            assert opened.format == "JPEG"
            assert opened.layer[0][1:3] == opened.layer[1][1:3]  # type: ignore[attr-defined]
            assert max(opened.quantization[0]) <= 15  # type: ignore[attr-defined]
        assert np.abs(to_float(load_image(tmp_path / "a.jpg")) - photo).mean() < 0.01

    @pytest.mark.parametrize("name", ["a.txt", "a", "a.psd"])
    def test_a_suffix_that_is_not_written(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ImageError, match=r"no picture format is written.*use \.png, \.jpg"):
            save_image(tmp_path / name, COLOURS / 255)
        assert list(tmp_path.iterdir()) == []

    def test_a_format_that_cannot_hold_colours(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"a\.xbm' cannot be written: .*RGB"):
            save_image(tmp_path / "a.xbm", COLOURS / 255)
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(ImageError, match=r"folder\.png' cannot be written: .*is a folder"):
            save_image(tmp_path / "folder.png", COLOURS / 255)
        (tmp_path / "file").touch()
        with pytest.raises(ImageError, match=r"a\.png' cannot be written: .*exists: '.*file'"):
            save_image(tmp_path / "file" / "a.png", COLOURS / 255)

    @pytest.mark.parametrize("shape", [(2, 2), (2, 2, 4), (0, 2, 3)])
    def test_not_rgb(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"expected RGB, \(height, width, 3\)"):
            save_image(tmp_path / "a.png", np.zeros(shape))


def test_heic_is_read_where_pillow_heif_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = (200, 90, 20)
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
    image = load_image(tmp_path / "a.heic")
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert np.abs(np.asarray(image)[:, 40:].astype(int) - (200, 90, 20)).max() < 10
