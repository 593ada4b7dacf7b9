"""What the interactive page is told, without the page: no Gradio and no browser here."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markupsafe import escape
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps import demo
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.serve import Choice, Viewer, words
from gradcam_hooks.images import load_image
from gradcam_hooks.models import LoadedModel, load_model
from gradcam_hooks.results.facts import Prediction
from tests.support.report_runs import FILE, LABEL, LABELS, PREPARE, Colours, picture

SIZE = 64
STAR = next(path for path in demo.IMAGES if path.stem == "star")


@pytest.fixture(scope="module")
def viewer() -> Viewer:
    """The bundled network that looks at the shape."""
    loaded = load_model("gradcam_hooks.apps.demo:network", demo.HONEST, labels=demo.LABELS)
    return Viewer(loaded, gh.Preprocess(size=(SIZE, SIZE), mean=demo.MEAN, std=demo.STD))


def of(model: nn.Module, labels: tuple[str, ...] | None = None, **more: object) -> Viewer:
    return Viewer(LoadedModel(model.eval(), "net", "by hand", labels, PREPARE), **more)


def test_the_layers_are_those_of_the_table_that_have_space(viewer):
    pixels = torch.randn(1, 3, SIZE, SIZE)
    table = gh.layers(viewer.loaded.model, pixels)
    assert [row.name for row in viewer.layers] == [r.name for r in table if r.spatial and r.name]
    assert viewer.recommended == table.recommended == "layer3"
    told = {row.name: words.layer_words(row) for row in viewer.layers}
    assert told["layer3"] == "layer3 · recommended · Sequential 72x16x16"
    assert told["layer1.0.relu"] == "layer1.0.relu · runs 2 times · ReLU 16x32x32"


def test_methods_of_attention_are_offered_where_there_is_attention(viewer):
    named = [row.name for row in viewer.methods]
    assert {"gradcam", "layercam", "rise", "random"} <= set(named)
    assert not {"attentionrollout", "legrad"} & set(named)

    class Attends(Colours):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1)

    assert [row.name for row in of(Attends()).methods] == list(gh.METHODS)


def test_the_guesses_are_the_softmax_of_the_logits(viewer):
    opened = viewer.open(STAR)
    with torch.no_grad():
        pixels, _ = viewer.prepare(load_image(STAR))
        chances = viewer.loaded.model(pixels[None])[0].double().softmax(0)
    order = chances.argsort(descending=True)[:5].tolist()
    assert [one.number for one in opened.guesses] == order
    assert [one.label for one in opened.guesses] == [demo.LABELS[i] for i in order]
    found = [one.probability for one in opened.guesses]
    assert found == pytest.approx(chances[order].tolist(), abs=1e-6)
    assert opened.guesses[0].label == "star"


def test_the_one_logit_of_two_labels_is_two_guesses(tmp_path):
    picture(tmp_path / "a.png", 1, 250)
    model = nn.Sequential(Colours(), nn.Linear(3, 1))
    with torch.no_grad():
        logit = float(model(PREPARE(load_image(tmp_path / "a.png"))[0][None]))
    said = {one.label: one for one in of(model, ("cat", "dog")).open(tmp_path / "a.png").guesses}
    assert (said["cat"].number, said["dog"].number) == (0, 1)
    assert said["dog"].probability == pytest.approx(1 / (1 + np.exp(-logit)))
    assert said["cat"].probability == pytest.approx(1 / (1 + np.exp(logit)))


def test_a_network_without_classes_has_no_guesses_and_says_why_there_is_no_map(tmp_path):
    picture(tmp_path / "a.png", 1, 250)
    seeing = of(nn.Sequential(nn.Conv2d(3, 2, 3)))
    opened = seeing.open(tmp_path / "a.png")
    assert opened.guesses == ()
    with pytest.raises(gh.OutputError, match="Segment"):
        seeing.look(opened, Choice("0"))


@pytest.mark.parametrize(
    ("target", "number"), [("", 4), ("2", 2), (" heart ", 6), ("0", 0)]
)  # fmt: skip
def test_the_map_is_the_library_s(target, number, viewer):
    seen = viewer.look(viewer.open(STAR), Choice("layer2", "layercam", target))
    expected = gh.explain(
        viewer.loaded.model,
        STAR,
        "layer2",
        target=number,
        method="layercam",
        preprocess=viewer.prepare,
    )
    assert torch.equal(seen.explained.maps, expected.maps)
    assert seen.explained.overlay().size == load_image(STAR).size
    assert seen.seconds > 0


def test_a_large_picture_is_shown_smaller_with_the_map_at_its_place(tmp_path):
    large = np.full((1536, 3072, 3), 20, np.uint8)
    large[400:700, 1900:2200, 1] = 250
    Image.fromarray(large).save(tmp_path / "large.png")
    seeing = of(Colours())  # which crops the middle
    seen = seeing.look(seeing.open(tmp_path / "large.png"), Choice("features"))
    whole = gh.explain(seeing.loaded.model, tmp_path / "large.png", "features", preprocess=PREPARE)
    shown = seen.explained.overlay()
    assert shown.size == (2048, 1024)
    assert torch.equal(seen.explained.maps, whole.maps)
    (box,) = seen.explained.boxes()[0]
    (expected,) = whole.boxes()[0]
    assert box == pytest.approx([2 / 3 * side for side in expected], abs=2)
    # Within a cell of the layer, 4 of the 36 pixels of the resized side, of where the block is.
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    assert centre == pytest.approx((2 / 3 * 2050, 2 / 3 * 550), abs=4 / 36 * 1024)


def test_a_layer_that_runs_twice_is_explained_by_all_its_calls(viewer):
    seen = viewer.look(viewer.open(STAR), Choice("layer1.0.relu"))
    assert len(seen.explained.layers) == 2
    assert isinstance(seen.explained.raw, tuple)


def test_the_numbers_are_those_of_the_explanation(viewer):
    seen = viewer.look(viewer.open(STAR), Choice("layer3"))
    html = words.numbers(replace(seen, seconds=0.0213))
    caption = seen.explained.facts()[0][0]
    for text in (
        "star (4)",
        f"{caption.score:.4g}",
        f"{100 * caption.probability:.1f} %",
        "b c=72 h=16 w=16",
        "<dd>21 ms</dd>",
        "<b>ok</b>",
    ):
        assert text in html
    assert words.alternative(seen) == (
        "The picture with the Grad-CAM map of star (4) at layer3."
    )  # fmt: skip


def test_a_blank_map_brings_its_message(tmp_path):
    Image.new("RGB", (80, 80)).save(tmp_path / "black.png")
    seeing = of(Colours())
    seen = seeing.look(seeing.open(tmp_path / "black.png"), Choice("features"))
    word = seen.explained.diagnosis[0]
    assert word != "ok"
    assert escape(word.message[10:]) in words.numbers(seen)
    assert 'class="diagnosis doubt"' in words.numbers(seen)


def test_the_steps_of_a_long_method_are_told(viewer):
    steps: list[tuple[int, int]] = []
    viewer.look(viewer.open(STAR), Choice("layer3", "ablationcam"), lambda *one: steps.append(one))
    assert steps[-1] == (72, 72)


def test_what_the_library_warns_of_is_a_note(tmp_path):
    picture(tmp_path / "a.png", 1, 250)
    seeing = of(nn.Sequential(Colours(), nn.Softmax(1)))
    seen = seeing.look(seeing.open(tmp_path / "a.png"), Choice("0.features"))
    assert any("probability" in note for note in seen.notes)
    assert escape(seen.notes[0]) in words.numbers(seen)
    logits = of(seeing.loaded.model, output="logits")
    opened = logits.open(tmp_path / "a.png")
    assert logits.look(opened, Choice("0.features")).notes == ()
    assert opened.guesses[0].number == 1


@pytest.mark.parametrize(
    ("content", "told"), [(b"nothing", "no picture that Pillow knows"), (b"", "is empty")]
)
def test_a_broken_picture_is_told_without_its_folder(content, told, tmp_path, viewer):
    (tmp_path / "torn.png").write_bytes(content)
    with pytest.raises(gh.ImageError, match=f"^'torn.png' {told}|^'torn.png' is {told}") as caught:
        viewer.open(tmp_path / "torn.png")
    assert str(tmp_path) not in str(caught.value)


def test_a_picture_cut_short_is_refused(tmp_path, viewer):
    (tmp_path / "half.png").write_bytes(STAR.read_bytes()[:2000])
    with pytest.raises(gh.ImageError, match=r"'half\.png' is cut short or damaged"):
        viewer.open(tmp_path / "half.png")


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        (Choice("layer3", target="99"), gh.TargetError, "0 to 7"),
        (Choice("layer3", target="-1"), gh.TargetError, "out of range"),
        (Choice("layer3", target="cat"), gh.TargetError, "no class is called 'cat'"),
        (Choice("layer9"), gh.LayerNotFound, "did you mean"),
        (Choice("layer3", "gradcamm"), gh.MethodNotFound, "did you mean 'gradcam'"),
    ],
)
def test_the_library_s_errors_come_as_they_are(asked, error, told, viewer):
    opened = viewer.open(STAR)
    with pytest.raises(error, match=told):
        viewer.look(opened, asked)
    assert viewer.look(opened, Choice("layer3")).explained.diagnosis == ("ok",)


def test_whatever_the_network_raises_can_be_shown(tmp_path):
    class Moody(Colours):
        moody = False

        def forward(self, x):
            if self.moody:
                raise KeyError("not today")
            return super().forward(x)

    picture(tmp_path / "a.png", 1, 250)
    seeing = of(model := Moody())
    opened = seeing.open(tmp_path / "a.png")
    model.moody = True
    with pytest.raises(gh.ModelError, match=r"fails on 'a\.png': KeyError: 'not today'"):
        seeing.open(tmp_path / "a.png")
    with pytest.raises(gh.ModelError, match="Grad-CAM fails here: KeyError: 'not today'"):
        seeing.look(opened, Choice("features"))


def test_a_network_that_does_not_run_or_has_no_space_is_refused_at_once():
    with pytest.raises(
        gh.ModelError, match=r"fails on an input of 32x32 pixels: .* takes 4 channels"
    ):
        of(nn.Sequential(nn.Conv2d(4, 3, 3)))
    with pytest.raises(gh.ModelError, match="no layer of 'net' gives an output with space"):
        of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)))


def test_the_network_is_left_as_it_was(viewer):
    model = viewer.loaded.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = viewer.look(viewer.open(STAR), Choice("layer2"))
    assert seen.explained.target.tolist() == [4]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()


def test_other_people_s_words_stay_text(tmp_path):
    picture(tmp_path / FILE, 0, 250)
    seeing = of(Colours(), LABELS)
    seeing.loaded = replace(seeing.loaded, name=LABEL, weights=f"/secret/{FILE}")
    opened = seeing.open(tmp_path / FILE)
    assert words.guess_words(opened.guesses[0]).startswith(LABEL)  # a component shows it as text
    seen = seeing.look(opened, Choice("features"))
    shown = words.numbers(seen) + words.heading(seeing.loaded) + words.message(LABEL)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "secret" not in shown
    assert shown.count(escape(LABEL)) == 3
    assert words.message("") == ""


def test_guesses_in_words():
    assert words.guess_words(Prediction(1, "dog", None)) == "dog  -"
    assert words.guess_words(Prediction(1, None, 0.5)) == "class 1  50.0 %"


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # what Python itself does for a failed import
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")  # so that both are put back
    monkeypatch.setenv("GRADIO_RUN_HISTORY", "")
    done = CliRunner().invoke(app, ["serve", "--model", "resnet18", "--weights", "random"])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "pip install gradio" in line


def test_examples_that_are_none_are_told_before_anything_is_loaded(tmp_path):
    words = ["serve", "--model", "resnet18", "--weights", "random", "--examples"]
    for place in (tmp_path, tmp_path / "none.png"):  # a folder without pictures, and no file
        done = CliRunner().invoke(app, [*words, str(place)])
        assert done.exit_code == 2
        assert place.name in " ".join(done.stderr.split())


def test_an_address_that_is_taken_or_not_here_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["serve", "--model", "resnet18", "--weights", "random"]
        done = CliRunner().invoke(app, [*words, "--port", str(port)])
        assert done.exit_code == 2
        assert f"cannot listen at port {port} of '127.0.0.1'" in " ".join(done.stderr.split())
    done = CliRunner().invoke(app, [*words, "--host", "192.0.2.1"])  # kept for documentation
    assert done.exit_code == 2
    assert "cannot listen at '192.0.2.1'" in " ".join(done.stderr.split())


def test_gradio_is_imported_by_the_page_alone():
    root = Path(gh.__file__).parents[1]
    code = (
        "import sys, gradcam_hooks.apps.cli, gradcam_hooks.apps.serve\n"
        "assert 'gradcam_hooks.apps.serve.page' in sys.modules\n"
        "heavy = {'gradio', 'fastapi', 'httpx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
