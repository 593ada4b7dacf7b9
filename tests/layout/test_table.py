"""The table of layers: what ran, what it gave, whether gradients reach it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from tests.support.nets import images, residual
from tests.support.traces import snapshot


def test_the_table_of_a_small_network() -> None:
    table = gh.layers(residual(), images())
    rows = {row.name: row for row in table}
    ran = ["conv1", "bn1", "conv2", "bn2", "relu", "drop", "pool", "fc", ""]
    assert [row.name for row in table] == ran  # in the order in which they last finished
    assert rows["relu"].calls == 2
    assert rows["conv1"].shape == (2, 4, 8, 8)
    assert rows["conv1"].type == "Conv2d"
    assert rows["conv1"].layout == "b c=4 h=8 w=8"
    assert rows["fc"].layout == ""
    assert [row.name for row in table if row.spatial] == ran[:6]
    assert all(row.gradient for row in table)
    assert table.recommended == "drop"
    assert [row.name for row in table if row.recommended] == ["drop"]
    assert len(table) == 9
    assert table[0] is rows["conv1"]


def test_the_table_prints() -> None:
    text = str(gh.layers(residual(), images()))
    assert "Layers of Residual, in the order they ran" in text
    line = next(line for line in text.splitlines() if "recommended" in line)
    assert "drop" in line
    assert "2x4x8x8" in line


def test_gradients_that_do_not_reach_a_layer_are_seen() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Conv2d(3, 4, 3)
            self.after = nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.after(self.before(x).detach()).mean((2, 3))

    reached = {row.name: row.gradient for row in gh.layers(Cut().double(), images())}
    assert reached == {"before": False, "after": True, "": True}


def test_outputs_that_are_no_tensor_are_shown_for_what_they_are() -> None:
    net = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    rows = {row.name: row for row in gh.layers(net, torch.rand(1, 3, 64, 64))}
    assert rows["backbone"].shape == "OrderedDict of 6 tensors"
    assert not rows["backbone"].spatial


def test_auto_and_the_table_agree_and_leave_nothing() -> None:
    torch.manual_seed(0)
    for name, layer in (("resnet18", "layer4"), ("vgg11", "avgpool"), ("densenet121", "features")):
        net = torchvision.models.get_model(name, weights=None)
        x = torch.randn(1, 3, 64, 64)
        before = snapshot(net) if name == "resnet18" else None
        assert gh.layers(net, x).recommended == layer
        assert gh.explain(net, x).layers == (layer,)
        assert before is None or snapshot(net) == before


def test_pictures_and_loaded_models_are_taken(tmp_path: Path) -> None:
    """The table of a picture is that of the tensor that explain makes of it."""
    path = tmp_path / "photo.png"
    Image.effect_mandelbrot((40, 30), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(path)
    loaded = gh.load_model("squeezenet1_1", num_classes=2)
    pixels = loaded.preprocess(Image.open(path))[0][None]
    expected = gh.layers(loaded.model, pixels)
    assert gh.layers(loaded, pixels) == gh.layers(loaded, str(path)) == expected
    assert gh.layers(loaded.model, path, preprocess=loaded.preprocess) == expected
    assert gh.layers(loaded.model, path) == expected  # 224 x 224 too, by what is assumed
    small = gh.Preprocess(size=(64, 96))
    first = gh.layers(loaded, Image.open(path), preprocess=small)[0]
    assert first.shape == (1, 64, 31, 47)
    with pytest.raises(gh.ImageError, match="no file"):
        gh.layers(loaded, tmp_path / "other.png")


def test_a_table_needs_an_image() -> None:
    with pytest.raises(gh.InputError, match="no image"):
        gh.layers(residual(), torch.zeros(3))


class Columns(nn.Module):
    """Patches in columns, which no shape tells: of 8 x 12 cells of 2 x 2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.mix, self.fc = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.mix(self.patch(x).transpose(2, 3).flatten(2).mT)
        logits: torch.Tensor = self.fc(tokens.relu().mean(1))
        return logits


def test_where_the_rules_are_not_to_be_trusted_the_table_says_so_and_asks_for_the_best() -> None:
    net, x = Columns(), torch.rand(2, 3, 16, 24)
    table = gh.layers(net, x)
    rows = {row.name: row for row in table}
    assert table.recommended == "mix"
    assert rows["mix"].layout == gh.explain(net, x).layouts[0] == "b (w=12 h=8) c=6"
    assert not rows["mix"].asked
    assert not rows["patch"].asked
    assert not any(row.asked for row in gh.layers(residual(), images()))


def test_a_row_of_which_the_network_is_asked_only_where_it_is_explained_tells_it() -> None:
    net = Columns()
    net.mix = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    rows = {row.name: row for row in gh.layers(net, torch.rand(2, 3, 16, 24))}
    assert rows["mix.0"].asked
    assert "the network will be asked" in rows["mix.0"].remarks
    assert rows["mix"].recommended
