"""A builder is called with what the user says, and with what a Lightning checkpoint remembers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app

NETS = """
import torch
from torch import nn
import lightning

def net(width, classes=2, depth=1):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

def configured(hparams):
    return net(hparams.width, hparams["classes"], hparams.depth)

def anything(**options):
    return net(options["width"], options["classes"], options["depth"])

class Lit(lightning.LightningModule):
    def __init__(self, width, classes, depth=1, lr=0.1, root=None):
        super().__init__()
        self.save_hyperparameters()
        self.model = net(width, classes, depth)
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(classes))

    def forward(self, x):
        return self.model(x)
"""


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """nets.py, and best.ckpt as a trainer writes it."""
    lightning = pytest.importorskip("lightning")
    (tmp_path / "nets.py").write_text(NETS)
    space: dict[str, object] = {"__name__": "nets"}
    exec(NETS, space)
    module = space["Lit"](width=6, classes=3, depth=2, root=Path("data"))  # type: ignore[operator]
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "best.ckpt")
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # what Lightning says of a trainer without a training
@pytest.mark.parametrize("builder", ["net", "configured", "anything", "Lit"])
def test_a_lightning_checkpoint_says_how_its_network_is_built(trained: Path, builder: str) -> None:
    path = trained / "best.ckpt"
    loaded = gh.load_model(f"{trained / 'nets.py'}:{builder}", path)
    kept = torch.load(path, weights_only=False)["state_dict"]
    own = loaded.model.state_dict()
    assert len(own) >= 6
    for name, tensor in own.items():
        assert torch.equal(tensor, kept[name if name in kept else f"model.{name}"])
    assert ("width=6" in loaded.notes[0]) == (builder != "configured")
    assert ("lr=" in loaded.notes[0]) == (builder in ("anything", "Lit"))
    assert gh.explain(loaded, torch.rand(1, 3, 16, 16)).maps.shape == (1, 16, 16)


@pytest.mark.filterwarnings("ignore")
def test_what_the_user_says_goes_first(trained: Path) -> None:
    with pytest.raises(gh.ModelError, match=r"does not fit Sequential .*of another shape"):
        gh.load_model(f"{trained / 'nets.py'}:net", trained / "best.ckpt", model_args={"width": 7})


def test_the_command_passes_arguments_to_the_builder(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS.replace("import lightning", "lightning = nn").replace(
        "lightning.LightningModule", "nn.Module"))  # fmt: skip
    words = ["layers", "--model", f"{tmp_path / 'nets.py'}:net", "--weights", "random"]
    missing = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert missing.exit_code == 2
    assert "--model-args NAME=VALUE" in missing.output.replace("\n", " ")
    given = [*words, "--model-args", "width=5", "--model-args", "classes=4"]
    done = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "1x5x224x224" in done.output
    wrong = CliRunner().invoke(app, [*words, "--model-args", "widht=5"], env={"COLUMNS": "200"})
    assert wrong.exit_code == 2
    assert "did you mean width=?" in wrong.output


def test_arguments_reach_the_libraries_own_builders() -> None:
    loaded = gh.load_model(
        "squeezenet1_1", model_args={"dropout": 0.125, "num_classes": 3}, labels=["a", "b", "c"]
    )
    assert loaded.model.classifier[0].p == 0.125
    with pytest.raises(gh.ModelError, match=r"num_classes=2 and num_classes=3"):
        gh.load_model("squeezenet1_1", num_classes=2, model_args={"num_classes": 3})


@pytest.mark.parametrize("kind", ["bytes", "opened", "buffer"])
def test_weights_may_be_bytes_or_opened(tmp_path: Path, kind: str) -> None:
    (tmp_path / "nets.py").write_text(NETS.replace("import lightning", "lightning = nn").replace(
        "lightning.LightningModule", "nn.Module"))  # fmt: skip
    name = f"{tmp_path / 'nets.py'}:net"
    state = gh.load_model(name, model_args={"width": 4}).model.state_dict()
    path = tmp_path / "best.pth"
    torch.save(state, path)
    data = path.read_bytes()
    with path.open("rb") as file:
        given = {"bytes": data, "opened": file, "buffer": io.BytesIO(data)}[kind]
        loaded = gh.load_model(name, given, model_args={"width": 4})  # type: ignore[arg-type]
    assert all(torch.equal(one, state[key]) for key, one in loaded.model.state_dict().items())
    assert loaded.weights == (str(path) if kind == "opened" else "the weights given")
    with pytest.raises(gh.ModelError, match=r"'the weights given' is truncated or damaged"):
        gh.load_model(name, data[:-300], model_args={"width": 4})
    with pytest.raises(gh.ModelError, match=r"weights are a file, its bytes, or opened"):
        gh.load_model(name, 5)  # type: ignore[arg-type]
