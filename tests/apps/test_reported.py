"""The report from Python: a folder, files or a data set, onto a page that says how right it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import datasets, transforms

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.apps.reported.datasets import pictures_of

COLOURS = {"blue": (20, 20, 230), "green": (20, 230, 20), "red": (230, 20, 20)}
PREPARE = gh.Preprocess((16, 16), mean=(0, 0, 0), std=(1, 1, 1))


def colours() -> nn.Sequential:
    """Names the strongest of blue, green and red."""
    net = nn.Sequential(
        nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3).flip(0)[..., None, None])
    return net


def picture(name: str, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-20, 20, (24, 32, 3))
    return Image.fromarray((np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of each colour in a folder of its name; one of them is in the wrong one."""
    for name in COLOURS:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for seed in (0, 1):
            picture(name, seed).save(tmp_path / "photos" / name / f"{seed}.png")
    picture("red").save(tmp_path / "photos" / "blue" / "0.png")
    return tmp_path / "photos"


class Pairs(Dataset):  # type: ignore[type-arg]
    """Pictures in memory and their classes, with a transform as torchvision's data sets have it."""

    classes = tuple(COLOURS)

    def __init__(self, transform: object = None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[object, int]:
        if not 0 <= index < 3:
            raise IndexError
        image: object = picture(self.classes[index])
        return (self.transform(image) if callable(self.transform) else image), index


def test_a_folder_with_true_classes(folder: Path, tmp_path: Path) -> None:
    made = gh.report(
        colours(),
        folder,
        out=tmp_path / "out",
        layer="1",
        preprocess=PREPARE,
        labels=list(COLOURS),
        truths="folders",
    )
    assert made.path == tmp_path / "out" / "report.html"
    assert made.accuracy == pytest.approx(5 / 6)
    assert made.confusion == {
        ("blue", "red"): 1,
        ("blue", "blue"): 1,
        ("green", "green"): 2,
        ("red", "red"): 2,
    }
    assert "6 pictures, 83.3% right" in repr(made)
    page = made.path.read_text()
    for told in ("5 of 6 (83.3%)", "blue 1 of 2; green 2 of 2; red 2 of 2", "blue for red 1"):
        assert told in page
    again = gh.report(
        colours(), folder, out=tmp_path / "out", layer="1", preprocess=PREPARE,
        labels=list(COLOURS), truths="folders",
    )  # fmt: skip
    assert again.records == made.records


def test_an_image_folder_brings_its_transform_its_classes_and_its_truths(
    folder: Path, tmp_path: Path
) -> None:
    own = transforms.Compose([transforms.CenterCrop(16), transforms.ToTensor()])
    data = datasets.ImageFolder(str(folder), transform=own)
    made = gh.report(colours(), data, out=tmp_path / "out", layer="1")
    assert made.accuracy == pytest.approx(5 / 6)
    geometry = made.records[0].geometry
    assert geometry is not None
    assert (geometry["offset"], geometry["input"]) == ([4.0, 8.0], [16, 16])


def test_pictures_in_memory_are_written_beside_the_report(tmp_path: Path) -> None:
    own = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
    data = Pairs(own)
    made = gh.report(colours(), data, out=tmp_path / "out", layer="1")
    assert made.accuracy == 1
    assert data.transform is own
    assert [record.truth for record in made.records] == list(COLOURS)
    written = Image.open(tmp_path / "out" / "pictures" / "00002.png")
    assert np.array_equal(np.asarray(written), np.asarray(picture("red")))
    plain = gh.report(
        colours(),
        [picture("red"), np.asarray(picture("blue"))],
        out=tmp_path / "plain",
        layer="1",
        preprocess=PREPARE,
        labels=list(COLOURS),
        truths=["red", "green"],
        method=["gradcam", "layercam"],
        name="colours",
    )
    assert plain.accuracy == pytest.approx(0.5)
    assert "colours" in plain.path.read_text()


def test_what_was_loaded_brings_its_labels_and_preprocessing(folder: Path, tmp_path: Path) -> None:
    loaded = gh.LoadedModel(colours(), "mine", "best.pth", tuple(COLOURS), PREPARE)
    made = gh.report(loaded, [folder / "red" / "1.png"], out=tmp_path / "out", layer="1")
    assert (made.records[0].label, made.accuracy, made.confusion) == ("red", None, {})
    assert "best.pth" in made.path.read_text()


@pytest.mark.parametrize(
    ("given", "truths", "told"),
    [
        ([torch.zeros(3, 8, 8)], None, r"number 0 is a Tensor.*pass it as preprocess="),
        ([], None, "no picture"),
        (3, None, "a folder, files, or a data set .* not int"),
        ([picture("red")], ["red", "blue"], "one class for each of the 1 pictures, and 2 came"),
    ],
)
def test_what_is_no_set_of_pictures_is_told(
    given: object, truths: object, told: str, tmp_path: Path
) -> None:
    with pytest.raises((gh.InputError, gh.ImageError), match=told):
        pictures_of(given, Folder(tmp_path / "out"), truths)


def test_files_that_are_no_pictures_are_counted_and_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 30), (200, 90, 20)).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "notes.txt").write_text("a note")
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = gh.report(net, tmp_path / "in", out=tmp_path / "out")
    assert found.left_out == {".txt": 1}
    assert "left out: 1 .txt" in repr(found)
