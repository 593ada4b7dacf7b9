"""Folders that transformers wrote: network, labels, processor, or an error with what to do."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], id2label={0: "cat", 1: "dog"}
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    transformers.ViTImageProcessor(size={"height": 48, "width": 64}).save_pretrained(
        tmp_path / "net"
    )
    return tmp_path / "net"


def test_a_folder_brings_weights_labels_and_processor(folder: Path) -> None:
    loaded = gh.load_model(f"hf:{folder}")
    other = transformers.ResNetForImageClassification.from_pretrained(folder)
    expected, state = other.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert (loaded.labels, loaded.model.training) == (("cat", "dog"), False)
    assert gh.explain(loaded, Image.new("RGB", (80, 60)), target="dog").maps.shape == (1, 48, 64)


def test_what_is_no_such_folder_is_told(folder: Path) -> None:
    with pytest.raises(gh.ModelError, match=r"no config\.json.*save_pretrained"):
        gh.load_model(f"hf:{folder.parent}")
    with pytest.raises(gh.ModelError, match="brings its weights"):
        gh.load_model(f"hf:{folder}", num_classes=2)
    weights = folder / "model.safetensors"
    state = load_file(weights)
    state.pop("classifier.1.bias")
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(gh.ModelError, match=r"lacks weights: classifier\.1\.bias"):
        gh.load_model(f"hf:{folder}")


def test_the_command_takes_a_folder(folder: Path, tmp_path: Path) -> None:
    Image.effect_mandelbrot((80, 60), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(
        tmp_path / "a.png"
    )
    words = ["explain", tmp_path / "a.png", "--model", f"hf:{folder}", "--out", tmp_path / "out"]
    ran = CliRunner().invoke(app, [*map(str, words), "--target", "dog"])
    assert ran.exit_code == 0, ran.output
    assert "1 explained" in ran.output


HUB = "kernels-community/one"  # where the package `kernels` would fetch code from, and run it


class Runs:
    """What a pickle runs when it is read by a reader that trusts it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.trace.touch, ()


def changed(path: Path, **fields: object) -> None:
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | fields))


def code_of_its_own(folder: Path, trace: Path) -> None:
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own:\n    pass\n")
    maps = dict.fromkeys(("AutoConfig", "AutoModel"), "own.Own")
    changed(folder / "config.json", auto_map=maps, model_type="own", architectures=["Own"])


def processor_of_its_own(folder: Path, trace: Path) -> None:
    code_of_its_own(folder, trace)
    (folder / "config.json").write_text((folder.parent / "config.json").read_text())
    maps = {"auto_map": {"AutoImageProcessor": "own.Own"}, "image_processor_type": "Own"}
    changed(folder / "preprocessor_config.json", **maps)


def pickled(folder: Path, trace: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(trace), protocol=2))


def kernels(folder: Path, trace: Path) -> None:
    changed(folder / "config.json", vision_config=[{"_attn_implementation": HUB}])


CODE = {
    code_of_its_own: "brings code of its own, which is not run",
    processor_of_its_own: "brings code of its own, which is not run",
    pickled: "holds a pickle that is more than tensors, whose code is not run",
    kernels: f"brings code of its own .*{HUB}",
}


@pytest.mark.parametrize("bring", CODE, ids=lambda bring: bring.__name__)
def test_no_code_of_a_folder_is_run_and_nobody_asked(
    bring: Callable[[Path, Path], None],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(*words: object) -> str:
        pytest.fail("transformers asks whether the code may be run")

    monkeypatch.setattr("builtins.input", asked)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    bring(folder, tmp_path / "ran")
    with pytest.raises(gh.ModelError, match=CODE[bring]) as told:
        gh.load_model(f"hf:{folder}")
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


DAMAGE: dict[str, tuple[str, dict[str, object] | str | None, str]] = {
    "no network": ("config.json", {"architectures": ["Trainer"]}, "'Trainer', no network of"),
    "no name": ("config.json", {"architectures": [3]}, "'3', no network of"),
    "no json": ("config.json", "{", "cannot be loaded"),
    "deep json": ("config.json", "[" * 100_000, "cannot be loaded"),
    "other shapes": ("config.json", {"hidden_sizes": [8, 16]}, "weights of other shapes"),
    "no kind": ("preprocessor_config.json", {"image_processor_type": "Trainer"}, "cannot be load"),
    "no processor": ("preprocessor_config.json", "", "cannot be loaded"),
    "huge claim": ("model.safetensors", "\xff" * 8 + "{}", "cannot be loaded"),
    "pipe": ("generation_config.json", None, r"generation_config\.json' is a pipe"),
}


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_told_in_a_line(
    case: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, what, words = DAMAGE[case]
    if what is None:
        os.mkfifo(folder / name)
    elif isinstance(what, str):
        (folder / name).write_bytes(what.encode("latin1"))
    else:
        changed(folder / name, **what)
    capfd.readouterr()
    with pytest.raises(gh.ModelError, match=words) as told:
        gh.load_model(f"hf:{folder}")
    assert len(str(told.value).splitlines()) == 1
    assert "classifier" not in capfd.readouterr().err  # no names out of the file
