from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from rich.console import Console
from skimage import data
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner, Result

import gradcam_hooks
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.cli import app, terminal

NET = """
import time
from pathlib import Path
import torch
from torch import nn

class Slow(nn.Module):
    def forward(self, x):
        with (Path(__file__).parent / "calls.txt").open("a") as calls:
            calls.write("x" * len(x))
        time.sleep({seconds})
        return x

def build(num_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        Slow(), nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80"})


def start(*words: object, **more: object) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    root = Path(gradcam_hooks.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "gradcam_hooks", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        **more,
    )


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photographs: square, landscape, portrait, grey, with alpha, and names to trip over."""
    folder = tmp_path_factory.mktemp("photos")
    china, flower = load_sample_images().images
    pictures = {
        "astronaut.jpg": data.astronaut(),
        "-dash.png": data.chelsea(),
        "camera grey.png": data.camera(),
        "logo.png": data.logo(),
        "[red]x[/red].png": data.coffee(),  # its own folder, "[red]x["
        "ロケット.webp": data.rocket().transpose(1, 0, 2),
        "deep/china.jpg": china,
        "deep/flower.jpg": flower,
    }
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of several networks, as training scripts save them."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, classes in (("resnet18", 1000), ("squeezenet1_1", 5), ("mobilenet_v3_small", 5)):
        model = torchvision.models.get_model(name, num_classes=classes)
        torch.save({"state_dict": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, Path]:
    """A network of one's own that takes its time, and twelve pictures."""
    (tmp_path / "net.py").write_text(NET.format(seconds=0.15))
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(data.chelsea()[i : i + 60, :80]).save(tmp_path / f"pictures/{i}.png")
    return f"{tmp_path / 'net.py'}:build", tmp_path / "pictures"


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet18", "layer4"), ("squeezenet1_1", "features"), ("mobilenet_v3_small", "features.12")],
)
def test_photographs_through_torchvision_networks(name, layer, photos, weights, tmp_path):
    result = run(
        "explain", photos, "--model", name, "--weights", weights / f"{name}.pth",
        "--layer", layer, "--out", tmp_path / "out", "--no-caption",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = lines(tmp_path / "out")
    assert len(found) == 8
    assert {line["layer"] for line in found} == {layer}
    for line in found:
        overlay = tmp_path / "out" / line["overlay"]
        with Image.open(line["file"]) as picture, Image.open(overlay) as drawn:
            assert drawn.size == picture.size
            changed = np.abs(
                np.asarray(drawn, dtype=int) - np.asarray(picture.convert("RGB"), dtype=int)
            )
            assert changed.mean() > 5
        assert 0 < line["probability"] <= 1


def test_the_closing_table_reads_well_in_80_columns(photos, weights, tmp_path):
    result = run(
        "explain", photos, "--model", "squeezenet1_1",
        "--weights", weights / "squeezenet1_1.pth", "--out", tmp_path,
    )  # fmt: skip
    shown = result.stdout.splitlines()
    assert [line for line in shown if len(line) > 80 and str(tmp_path) not in line] == []
    for heading in ("image", "prediction", "probability", "layer", "file"):
        assert heading in result.stdout
    for name in ("[red]x[/red].png", "-dash.png", "camera grey.png", "ロケット", "deep/china.jpg"):
        assert name in result.stdout
    assert "8 pictures: 8 explained." in result.stdout
    assert f"overlays: {tmp_path / 'overlays'}" in result.stdout
    assert f"results:  {tmp_path / 'results.jsonl'}" in result.stdout
    assert "\x1b" not in result.output
    assert "explaining" not in result.output  # no bar where there is no terminal


def test_a_picture_with_a_dash_in_front_and_out_within_the_pictures(photos, weights, tmp_path):
    here = Path.cwd()
    os.chdir(photos)
    try:
        result = run(
            "explain", "--model", "squeezenet1_1", "--weights", weights / "squeezenet1_1.pth",
            "--target", "top:2", "--fit", "crop", "--out", photos / "results", "--",
            "-dash.png", "logo.png",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert [line["file"] for line in lines(photos / "results")] == ["-dash.png", "logo.png"]
        assert lines(photos / "results")[0]["geometry"]["offset"] != [0, 0]
        again = run(
            "explain", ".", "--model", "squeezenet1_1", "--weights",
            weights / "squeezenet1_1.pth", "--out", "results",
        )  # fmt: skip
        assert again.exit_code == 0, again.output
        # The overlays of the first run are no pictures of the second, whose options are others.
        assert len(lines(photos / "results" / "run-2")) == 8
    finally:
        os.chdir(here)
        for left in sorted((photos / "results").rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        (photos / "results").rmdir()


def test_a_second_run_keeps_the_first_and_force_does_not(slow, tmp_path):
    model, pictures = slow
    calls = tmp_path / "calls.txt"
    words = ("explain", "--image-dir", pictures, "--model", model, "--out", tmp_path / "out")
    assert "12 pictures: 12 explained." in run(*words, "--layer", "1").stdout
    assert len(calls.read_text()) == 12
    again = run(*words, "--layer", "1")
    assert "12 kept from an earlier run (--force does them again)" in flat(again.stdout)
    assert len(calls.read_text()) == 12
    assert "12 explained" in run(*words, "--layer", "1", "--force").stdout
    assert len(calls.read_text()) == 24


def test_broken_pictures_are_listed_at_the_end_and_the_status_is_1(slow, tmp_path):
    model, pictures = slow
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:400])
    (pictures / "[b].png").write_text("nothing")
    result = run("explain", pictures, "--model", model, "--layer", "1", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "13 pictures: 11 explained, 2 broken." in result.stdout
    assert "3.png' is cut short or damaged" in result.stderr
    assert "[b].png' is no picture that Pillow knows" in result.stderr
    assert [line["error"] is None for line in lines(tmp_path / "out")].count(False) == 2


def test_where_all_are_broken_no_overlays_are_announced(slow, tmp_path):
    (tmp_path / "a.png").write_text("nothing")
    result = run("explain", tmp_path / "a.png", "--model", slow[0], "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 picture: 1 broken." in result.stdout
    assert "overlays" not in result.stdout


def test_results_that_would_lie_in_a_file_are_refused_in_words(slow, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = run("explain", slow[1], "--model", slow[0], "--layer", "1", "--out", tmp_path / "out")
    assert result.exit_code == 2
    told = f"'{tmp_path / 'out'}' is a file, and results need a folder: name another (--out)"
    assert told in result.stderr.replace("\n", "")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_long_run_shows_its_first_rows_and_how_many_more(slow, tmp_path):
    model, pictures = slow
    for i in range(12, 23):
        Image.new("RGB", (30, 30), (i, i, i)).save(pictures / f"{i}.png")
    result = run(
        "explain", pictures, "--model", model, "--layer", "1", "--batch-size", 12,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert "19.png" in result.stdout
    assert "20.png" not in result.stdout
    assert "... and 3 more" in result.stdout


def test_a_map_that_says_nothing_is_told_with_its_reason(slow, tmp_path):
    model, pictures = slow
    result = run(
        "explain", pictures / "0.png", "--model", model, "--layer", "5",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 2  # (batch, classes) has no space to explain
    result = run(
        "explain", pictures / "0.png", "--model", model, "--layer", "3",
        "--out", tmp_path / "out",
    )  # fmt: skip
    (line,) = lines(tmp_path / "out")
    assert line["diagnosis"] != "ok"
    assert f"{line['diagnosis']}: {pictures / '0.png'}: {line['diagnosis_message']}" in flat(
        result.stderr
    )


def test_labels_name_the_prediction_and_the_target(slow, tmp_path):
    model, pictures = slow
    (tmp_path / "names.txt").write_text("cat\n[bold]dog\nbird\n", encoding="utf-8")
    result = run(
        "explain", pictures / "0.png", "--model", model, "--layer", "1", "--labels",
        tmp_path / "names.txt", "--target", "[bold]dog", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (line,) = lines(tmp_path / "out")
    assert (line["target"], line["target_label"]) == (1, "[bold]dog")
    assert "[bold]dog" in result.stdout


def test_random_weights_must_be_asked_for_and_come_with_a_warning(photos, tmp_path):
    words = ("explain", photos / "logo.png", "--model", "squeezenet1_1", "--out", tmp_path)
    result = run(*words, "--weights", "random")
    assert result.exit_code == 0, result.output
    assert "warning: random weights: this network has learnt nothing" in result.stderr
    assert "1 kept" in run(*words, "--weights", "random").stdout  # the same weights each time


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which pictures? Name files or folders: gradcam-hooks explain photos/"),
        (["PHOTOS"], "which network? --model resnet50 takes torchvision's"),
        (["PHOTOS", "--weights", "best.pth"], "'best.pth' holds weights, and does not say which "
         "network they are for: name the architecture it was trained with, such as --model vgg16"),
        (["PHOTOS", "--model", "resnett18"], "no architecture 'resnett18' in torchvision; did you "
         "mean resnet18"),
        (["nowhere", "--model", "resnet18"], "no file or folder 'nowhere'"),
        (["PHOTOS", "--model", "resnet18", "--weights", "WEIGHTS/squeezenet1_1.pth"],
         "does not fit ResNet"),
        (["PHOTOS", "--model", "squeezenet1_1", "--weights", "WEIGHTS/squeezenet.pth"],
         "squeezenet1_1.pth"),
        (["PHOTOS", "--layer", "featurs"], "no layer 'featurs' in SqueezeNet; did you mean "
         "'features'"),
        (["PHOTOS", "--layer", "featurs"], "hint: gradcam-hooks layers --model squeezenet1_1"),
        (["PHOTOS", "--target", "5"], "class 5 is out of range: this output has classes 0 to 4"),
        (["PHOTOS", "--target", "cat"], "explain --help lists what --target takes"),
        (["PHOTOS", "--target", "top:many"], "--target top takes a number, such as top:5"),
        (["PHOTOS", "--method", "gradcamm"], "no method 'gradcamm'; did you mean 'gradcam'?"),
        (["PHOTOS", "--colormap", "jett"], "no colour map 'jett'; did you mean 'jet'?"),
        (["PHOTOS", "--alpha", "2"], "Invalid value for '--alpha'"),
        (["PHOTOS", "--fit", "stretch"], "fit= is one of 'squash', 'crop', 'letterbox'"),
        (["PHOTOS", "--size", "big"], "--size is a side, or HEIGHTxWIDTH, such as 224 or 192x256"),
        (["PHOTOS", "--mean", "0.5,0.5"], "--mean is one number, or three for R, G and B"),
        (["PHOTOS", "--std", "0"], "std divides the pixels and must be positive"),
        (["PHOTOS", "--device", "gpu"], "device 'gpu' cannot be used here"),
        (["PHOTOS", "--output", "boxes"], "output='boxes' asks for a part"),
        (["PHOTOS", "--labels", "nowhere.txt"], "no file of labels 'nowhere.txt'"),
        (["PHOTOS", "--num-classes", "7"], "num_classes=7 was asked for"),
        (["PHOTOS", "--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["PHOTOS", "--model", "nets.py:build"], "no file 'nets.py'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(words, told, photos, weights, tmp_path):
    words = [word.replace("PHOTOS", str(photos)).replace("WEIGHTS", str(weights)) for word in words]
    if words and "--model" not in words and len(words) > 1 and "best.pth" not in words:
        own = ["--model", "squeezenet1_1", "--weights", str(weights / "squeezenet1_1.pth")]
        words = [*words, *own]
    result = run("explain", *words, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert told in flat(result.stderr)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_a_mistake_too(slow, tmp_path):
    model, pictures = slow
    (tmp_path / "out").write_text("a file")
    result = run("explain", pictures, "--model", model, "--layer", "1", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"error: '{tmp_path / 'out'}" in result.stderr
    assert "Traceback" not in result.output


def records_in(journal: Path) -> int:
    """The whole lines of it that are records."""
    whole = journal.read_bytes().rpartition(b"\n")[0].splitlines()
    return sum(line.startswith(b'{"file"') for line in whole)


def wait_for(journal: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until the journal has as many records."""
    deadline = time.monotonic() + 300
    while not (journal.exists() and records_in(journal) >= count):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_is_killed_is_taken_up_where_it_was(slow, tmp_path):
    model, pictures = slow
    out = tmp_path / "out"
    words = (
        "explain", pictures, "--model", model, "--layer", "1", "--batch-size", 1, "--out", out,
    )  # fmt: skip
    process = start(*words)
    wait_for(out / ".gradcam_hooks/journal.jsonl", 4, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    journal = out / ".gradcam_hooks/journal.jsonl"
    done = records_in(journal)
    assert 4 <= done < 12
    assert lines(out) == []
    with journal.open("a") as torn:
        torn.write('{"file": "half a li')
    (tmp_path / "calls.txt").unlink()
    result = run(*words)
    assert f"{12 - done} explained, {done} kept from an earlier run" in flat(result.stdout)
    assert len((tmp_path / "calls.txt").read_text()) == 12 - done
    assert [line["file"] for line in lines(out)] == [str(pictures / f"{i}.png") for i in range(12)]
    assert not journal.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX does")
def test_ctrl_c_keeps_what_is_done_and_says_so(slow, tmp_path):
    model, pictures = slow
    out = tmp_path / "out"
    words = (
        "explain", pictures, "--model", model, "--layer", "1", "--batch-size", 1, "--out", out,
    )  # fmt: skip
    # A process that is started in the background may inherit that the signal is ignored.
    process = start(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for(out / ".gradcam_hooks/journal.jsonl", 3, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    found = lines(out)
    assert 3 <= len(found) < 12
    assert f"stopped: {len(found)} of 12 pictures are done, and kept in" in stderr
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stdout + stderr
    assert not (out / ".gradcam_hooks/journal.jsonl").exists()
    assert f"{len(found)} kept" in run(*words).stdout


def test_ctrl_c_before_the_first_picture_is_status_130(monkeypatch, photos):
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gradcam_hooks.models.load_model", interrupted)
    result = run("explain", photos, "--model", "resnet18", "--weights", "x.pth")
    assert result.exit_code == 130
    assert "stopped" in result.stderr


def test_help_imports_nothing_heavy_and_fits_80_columns():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from gradcam_hooks.apps.cli import app\n"
        "result = CliRunner().invoke(app, ['explain', '--help'], env={'COLUMNS': '80'})\n"
        "sys.stdout.buffer.write(result.output.encode())\n"
        "heavy = {'torchvision', 'cv2', 'PIL', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import PIL.Image\n"  # the proof is one: the set would have held it
        "assert 'PIL' in sys.modules\n"
    )
    root = Path(gradcam_hooks.__file__).parents[1]
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=root, stdout=subprocess.PIPE
    )
    shown = process.stdout.decode()
    assert max(map(len, shown.splitlines())) <= 80
    for group in ("Network", "What to explain", "Pictures", "Results", "Examples:"):
        assert group in shown


def test_no_words_at_all_show_the_help():
    result = run()
    assert "Usage" in result.output
    assert "gradcam-hooks demo" in result.output
    assert {"explain", "layers", "methods", "demo"} <= set(result.output.split())


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("gradcam-hooks ")


def test_layers_marks_the_recommended_one():
    result = run("layers", "--model", "squeezenet1_1", "--size", "64x96")
    assert result.exit_code == 0, result.output
    shown = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "1x512x3x5" in shown["features"]
    assert sum("<- recommended" in line for line in shown.values()) == 1
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which network?"),
        (["--model", "squeezenet1_1", "--size", "4"], "fails on an input of shape (1, 3, 4, 4)"),
        (["--model", "squeezenet1_2"], "did you mean squeezenet1_1"),
    ],
)
def test_layers_tells_a_mistake(words, told):
    result = run("layers", *words)
    assert result.exit_code == 2
    assert told in flat(result.stderr)


def test_methods_lists_every_method():
    result = run("methods")
    assert result.exit_code == 0
    for name in gradcam_hooks.METHODS:
        assert name in result.stdout


def test_the_demo_shows_one_network_right_for_the_wrong_reason(tmp_path):
    result = run("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Right are: honest 8 of 8, fooled 8 of 8." in result.stdout
    assert str(tmp_path / "demo.png") in result.stdout
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.width > sheet.height > 300
    hot: dict[str, list[bool]] = {}
    for name in ("honest", "fooled"):
        found = lines(tmp_path / name)
        assert [line["label"] for line in found] == [Path(line["file"]).stem for line in found]
        hot[name] = []
        for line in found:
            overlay = np.asarray(Image.open(tmp_path / name / line["overlay"]), dtype=float)
            picture = np.asarray(Image.open(line["file"]).convert("RGB"), dtype=float)
            bright = (overlay - 0.5 * picture).sum(2)  # what the map alone adds
            row, column = np.unravel_index(bright.argmax(), bright.shape)
            in_corner = row > overlay.shape[0] * 0.7 and column < overlay.shape[1] * 0.35
            hot[name].append(bool(in_corner))
    assert hot == {"honest": [False] * 8, "fooled": [True] * 8}


def test_what_a_terminal_would_obey_is_escaped():
    assert terminal.plain("a\x1b[2Jb\nc\udcff[red]").plain == "a\\x1b[2Jb\\nc\\udcff[red]"
    assert terminal.plain("猫 é").plain == "猫 é"


def test_the_bar_is_drawn_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    real = Console

    def console(**options: object) -> Console:
        return real(file=screen, force_terminal=True, width=80)

    monkeypatch.setattr(terminal, "Console", console)
    with terminal.bar(4) as progress:
        progress.advance(progress.task_ids[0])
        progress.refresh()
    drawn = screen.getvalue()
    assert "explaining" in drawn
    assert "1/4" in drawn


def test_a_broken_record_of_another_message_names_its_file(capsys):
    terminal.show_records([Record("a.jpg", error="no space")])
    assert "broken: 'a.jpg': no space" in capsys.readouterr().err


def test_an_overlay_says_below_what_it_is_a_picture_of(tmp_path):
    from gradcam_hooks.apps import demo

    heights = {}
    network = f"{Path(demo.__file__).parent}/network.py:network"
    for words in (["--caption"], ["--no-caption"], []):
        result = run(
            "explain", demo.IMAGES[0], "--model", network,
            "--weights", demo.HONEST, "--size", "64", "--out", tmp_path / "-".join(words), *words,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        (found,) = lines(tmp_path / "-".join(words))
        with Image.open(tmp_path / "-".join(words) / found["overlay"]) as drawn:
            heights["".join(words)] = drawn.height
    with Image.open(demo.IMAGES[0]) as picture:
        assert heights["--no-caption"] == picture.height
    assert heights["--caption"] > heights["--no-caption"]
    assert heights[""] == heights["--caption"]
