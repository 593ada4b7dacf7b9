"""Folders that transformers wrote: network, labels, processor, or an error with what to do."""

from __future__ import annotations

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
