from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from skimage import data
from torch.nn import functional as F  # noqa: N812
from torchvision import transforms

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "grad_cam.py"


def run(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The script's status and output, run as `__main__` from a folder of its own."""
    before, sys.argv = sys.argv, [str(SCRIPT), *words]
    here = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        sys.argv = before
        os.chdir(here)
    told = capsys.readouterr()
    return int(stop.value.code or 0), told.out, told.err


def vgg16() -> torchvision.models.VGG:
    """A VGG16 of two classes with random weights, drawn faster than torchvision does."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = torchvision.models.vgg16(num_classes=2)
    state = {}
    for name, value in model.state_dict().items():
        spread = (6 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.01
        state[name] = torch.empty(value.shape).uniform_(-spread, spread)
    model.load_state_dict(state, assign=True)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A seed user's folder: `model_save/best.pth`, and pictures, one of them cut short."""
    folder = tmp_path_factory.mktemp("seed")
    (folder / "model_save").mkdir()
    torch.save(vgg16().state_dict(), folder / "model_save" / "best.pth")
    (folder / "photos").mkdir()
    pictures = {
        "img1.png": data.astronaut()[:224, 100:324],
        "img2.jpg": data.chelsea(),
        "img10.png": data.camera(),
        "img11.png": data.logo(),
        "img12.png": data.rocket().transpose(1, 0, 2),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / "photos" / name)
    whole = (folder / "photos" / "img2.jpg").read_bytes()
    (folder / "photos" / "img3.jpg").write_bytes(whole[: len(whole) // 2])
    yield folder
    (folder / "model_save" / "best.pth").unlink()  # half a gigabyte, which pytest would keep


def seed(model: torchvision.models.VGG, path: Path) -> np.ndarray:
    """The seed's recipe, a network split by hand, on a picture of 224x224."""
    prepare = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    picture = Image.open(path).convert("RGB")
    with torch.no_grad():
        feature = model.features(prepare(picture)[None])
    feature = feature.detach().requires_grad_()
    logits = model.classifier(model.avgpool(feature).flatten(1))
    logits[0, logits.argmax()].backward()
    weight = feature.grad[0].mean((1, 2), keepdim=True)
    heat = F.relu((weight * feature[0]).sum(0)).detach().numpy()
    heat = (heat - heat.min()) / (heat - heat.min()).max()
    heat = cv2.resize(heat, (224, 224))
    jet = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    return 0.3 * np.asarray(picture) + 0.7 * jet


def test_the_seed_s_own_program(folder, capsys):
    status, out, err = run(folder, capsys, "--image-dir", "photos")
    results = folder / "results_img"
    assert status == 1
    assert re.findall(r"results_img/(\S+)  photos/(\S+)", out) == [
        ("0.jpg", "img1.png"),
        ("1.jpg", "img2.jpg"),
        ("2.jpg", "img10.png"),
        ("3.jpg", "img11.png"),
        ("4.jpg", "img12.png"),
    ]
    assert "broken: 'photos/img3.jpg' is cut short or damaged" in err
    assert sorted(path.name for path in results.iterdir()) == [
        ".gradcam_hooks", "0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "README.md",
    ]  # fmt: skip
    for number, name in enumerate(["img1.png", "img2.jpg", "img10.png", "img11.png", "img12.png"]):
        with Image.open(folder / "photos" / name) as picture:
            size = picture.size
        with Image.open(results / f"{number}.jpg") as drawn:
            assert (drawn.size, drawn.format) == (size, "JPEG")
    ours = np.asarray(Image.open(results / "0.jpg"), dtype=float)
    model = torchvision.models.vgg16(num_classes=2, init_weights=False).eval()
    model.load_state_dict(torch.load(folder / "model_save" / "best.pth"))
    theirs = seed(model, folder / "photos" / "img1.png")
    # JPEG, and the seed scales the map before it resizes it: a few levels of 255.
    assert np.abs(ours - theirs).mean() < 4
    assert np.abs(theirs - np.asarray(Image.open(folder / "photos" / "img1.png"))).mean() > 40
    cell = '<img src="./{}.jpg" width="150" height="150">'
    assert (results / "README.md").read_text() == (
        "|0|1|2|3|\n|---|---|---|---|\n|" + "|".join(map(cell.format, range(4))) + "|\n"
        "\n|4|\n|---|\n|" + cell.format(4) + "|\n"
    )


def test_another_network_and_a_second_run_into_the_pictures_own_folder(folder, tmp_path, capsys):
    torch.manual_seed(0)
    small = torchvision.models.squeezenet1_1(num_classes=3)
    torch.save(small.state_dict(), tmp_path / "s.pth")
    shutil.copy(folder / "photos" / "img1.png", tmp_path)
    words = ("--image-dir", ".", "--model", "squeezenet1_1", "--weights", "s.pth")
    for _ in range(2):  # the second does not take the first one's results for pictures
        status, out, _ = run(tmp_path, capsys, *words)
        assert status == 0
        assert re.findall(r"(\S+)  (\S+)", out)[0] == ("results_img/0.jpg", "img1.png")
        assert sorted(path.name for path in (tmp_path / "results_img").iterdir()) == [
            ".gradcam_hooks",
            "0.jpg",
            "README.md",
        ]


def test_weights_that_are_not_there_are_told_with_the_next_step(folder, tmp_path, capsys):
    status, _, err = run(tmp_path, capsys, "--image-dir", str(folder / "photos"))
    assert status == 2
    assert err == (
        "error: there are no weights at 'model_save/best.pth': put the file of your trained vgg16 "
        "there, or name it with --weights. To see maps without a model of your own, run "
        "scripts/demo\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--image-dir", "nowhere"], "no file or folder 'nowhere'"),
        (["--image-dir", "model_save"], "no picture in 'model_save'"),
        (["--image-dir", "photos", "--model", "vgg166"], "did you mean vgg16"),
        (["--image-dir", "photos", "--layer", "feature"], "did you mean 'features'"),
    ],
)
def test_a_mistake_is_one_line(words, told, folder, capsys):
    status, _, err = run(folder, capsys, *words)
    assert status == 2
    assert told in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_python_without_the_package_is_told_which_to_take():
    process = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), "--image-dir", "."],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert "has no gradcam_hooks; run it with .venv/bin/python, which scripts/demo makes" in (
        process.stderr
    )
    assert process.stderr.count("\n") == 1


def test_files_of_others_are_not_written_over(tmp_path, capsys):
    small = torchvision.models.squeezenet1_1(num_classes=3)
    torch.save(small.state_dict(), tmp_path / "s.pth")
    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    (tmp_path / "results_img").mkdir()
    (tmp_path / "results_img" / "README.md").write_text("mine")
    words = ("--image-dir", ".", "--model", "squeezenet1_1", "--weights", "s.pth")
    status, out, err = run(tmp_path, capsys, *words)
    assert (status, out) == (2, "")
    assert "README.md' is there already, and no run of this command made it" in err
    assert [path.name for path in (tmp_path / "results_img").iterdir()] == ["README.md"]
