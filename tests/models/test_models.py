"""A model is handed out whole: built, loaded, with its labels and its preprocessing, or not."""

from __future__ import annotations

import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from gradcam_hooks.errors import DeviceError, ModelError
from gradcam_hooks.images import Preprocess
from gradcam_hooks.models import load_model
from gradcam_hooks.models.architectures import find_architecture
from gradcam_hooks.models.classifier import build_blank

SMALL = ("squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18", "mnasnet0_5")
FIVE = ["a", "b", "c", "d", "e"]

pytestmark = pytest.mark.usefixtures("one_thread")


def network(name: str, num_classes: int = 5, **options: object) -> nn.Module:
    """A network of torchvision's with statistics that no freshly built one has."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return seen(model)


def seen(model: nn.Module) -> nn.Module:
    """The network after its batch norms have seen pictures."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


def same_outputs(model: nn.Module, other: nn.Module) -> bool:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = model(images), other(images)
    assert not torch.allclose(theirs[0], theirs[1])  # it depends on the picture
    return torch.equal(ours, theirs)


def cheap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the same shapes, every tensor one stored number."""
    return {key: torch.zeros((), dtype=v.dtype).expand(v.shape) for key, v in state.items()}


def blank(name: str, num_classes: int, **options: object) -> dict[str, Tensor]:
    return cheap(build_blank(find_architecture(name), num_classes, **options).state_dict())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_loaded_gives_the_outputs_of_what_was_saved(
    tmp_path: Path, name: str, suffix: str
) -> None:
    original = network(name)
    path = tmp_path / f"net.{suffix}"
    if suffix == "pth":
        torch.save(
            {"epoch": 1, "model": {f"module.{k}": v for k, v in original.state_dict().items()}},
            path,
        )
    else:
        safetensors.torch.save_file(original.state_dict(), path)
    loaded = load_model(name, path)
    assert same_outputs(loaded.model, original)
    assert not any(module.training for module in loaded.model.modules())
    assert all(p.requires_grad for p in loaded.model.parameters())
    assert (loaded.name, loaded.weights, loaded.labels) == (name, str(path), None)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("alexnet", "classifier.6"),
        ("vgg16", "classifier.6"),
        ("vgg11_bn", "classifier.6"),
        ("resnet18", "fc"),
        ("resnext50_32x4d", "fc"),
        ("densenet121", "classifier"),
        ("squeezenet1_0", "classifier.1"),
        ("mobilenet_v2", "classifier.1"),
        ("mobilenet_v3_large", "classifier.3"),
        ("efficientnet_b0", "classifier.1"),
        ("convnext_tiny", "classifier.2"),
        ("regnet_y_400mf", "fc"),
        ("shufflenet_v2_x1_0", "fc"),
        ("mnasnet1_0", "classifier.1"),
        ("googlenet", "fc"),
        ("inception_v3", "fc"),
        ("vit_b_16", "heads.head"),
        ("swin_t", "head"),
        ("maxvit_t", "classifier.5"),
    ],
)
def test_the_number_of_classes_is_read_off_the_last_layer(
    tmp_path: Path, name: str, layer: str
) -> None:
    torch.save(blank(name, 5), tmp_path / "net.pth")
    loaded = load_model(name, tmp_path / "net.pth", labels=FIVE)
    assert loaded.model.get_submodule(layer).weight.shape[0] == 5
    assert not any(tensor.is_meta for tensor in loaded.model.state_dict().values())


def test_a_number_of_classes_that_the_file_contradicts(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(blank("squeezenet1_1", 5), path)
    assert load_model("squeezenet1_1", path, num_classes=5).model.num_classes == 5
    with pytest.raises(
        ModelError, match=r"num_classes=7 was asked for, but .*net\.pth' has 5 classes"
    ):
        load_model("squeezenet1_1", path, num_classes=7)


def test_googlenet_with_and_without_its_training_heads(tmp_path: Path) -> None:
    original = network("googlenet", aux_logits=True, init_weights=False)
    state = original.state_dict()
    assert "aux2.fc2.weight" in state
    for name in ("with", "without", "other"):
        if name == "without":
            state = {key: value for key, value in state.items() if not key.startswith("aux")}
        if name == "other":  # the classifier was replaced, the training heads were not
            state["aux1.fc2.weight"] = torch.zeros(1000, 1024)
        torch.save(state, tmp_path / name)
        loaded = load_model("googlenet", tmp_path / name)
        assert same_outputs(loaded.model, original)


def test_inception_with_its_training_head(tmp_path: Path) -> None:
    with_head = blank("inception_v3", 5, aux_logits=True)
    assert with_head["AuxLogits.fc.weight"].shape == (5, 768)
    torch.save(with_head, tmp_path / "net.pth")
    loaded = load_model("inception_v3", tmp_path / "net.pth")
    assert loaded.model.fc.out_features == 5
    assert loaded.preprocess.size == (299, 299)


def test_a_vision_transformer_of_another_size(tmp_path: Path) -> None:
    torch.save(blank("vit_b_32", 5, image_size=384), tmp_path / "net.pth")
    loaded = load_model("vit_b_32", tmp_path / "net.pth")
    assert loaded.model.encoder.pos_embedding.shape == (1, 145, 768)  # 12 * 12 patches and 1
    assert loaded.preprocess.size == (384, 384)


def test_another_architecture_is_told_with_keys_and_shapes(tmp_path: Path) -> None:
    torch.save(blank("resnet18", 5), tmp_path / "net.pth")
    with pytest.raises(ModelError) as caught:
        load_model("resnet50", tmp_path / "net.pth")
    for words in (
        "net.pth' does not fit ResNet: of 320 keys",
        "missing: layer1.0.conv3.weight (256, 64, 1, 1), ",
        "of another shape: layer1.0.conv1.weight (64, 64, 3, 3) where the model has (64, 64, 1, 1)",
    ):
        assert words in str(caught.value)


def test_a_whole_pickled_module(tmp_path: Path) -> None:
    original = network("squeezenet1_1")
    torch.save(original, tmp_path / "whole.pth")
    with pytest.raises(ModelError, match=r"runs code of whoever made the file.*--trust-pickle"):
        load_model("squeezenet1_1", tmp_path / "whole.pth")
    loaded = load_model("squeezenet1_1", tmp_path / "whole.pth", trust_pickle=True)
    assert same_outputs(loaded.model, original)
    assert loaded.model is not original


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(network("squeezenet1_1").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="truncated"):
        load_model("squeezenet1_1", path)


def test_random_weights() -> None:
    torch.manual_seed(3)
    loaded = load_model("squeezenet1_1", num_classes=5, labels=FIVE)
    assert (loaded.weights, loaded.labels) == ("random", tuple(FIVE))
    assert loaded.preprocess == Preprocess()
    torch.manual_seed(3)
    assert same_outputs(loaded.model, load_model("squeezenet1_1", num_classes=5).model)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", Preprocess()),
        ("efficientnet_b3", Preprocess(size=(300, 300), interpolation="bicubic")),
        ("fcn_resnet50", Preprocess(size=(520, 520))),
        ("retinanet_resnet50_fpn", Preprocess(mean=(0, 0, 0), std=(1, 1, 1))),
    ],
)
def test_own_weights_get_the_size_and_mean_of_the_architecture(
    tmp_path: Path, name: str, expected: Preprocess
) -> None:
    torch.save(blank(name, 5), tmp_path / "net.pth")
    assert load_model(name, tmp_path / "net.pth").preprocess == expected


# --- published weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache, empty, and a network that nobody answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers an earlier proxy
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1"])
def test_published_weights_bring_labels_and_preprocessing(hub: Path, weights: str) -> None:
    original = network("squeezenet1_1", num_classes=1000)
    torch.save(original.state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    loaded = load_model("squeezenet1_1", weights)
    assert same_outputs(loaded.model, original)
    assert loaded.weights == weights
    assert loaded.labels is not None
    assert (len(loaded.labels), loaded.labels[1]) == (1000, "goldfish")
    assert loaded.preprocess == Preprocess(size=(224, 224), fit="crop", resize=256)
    with pytest.raises(ModelError, match=r"num_classes=5 do not fit .* 1000 classes"):
        load_model("squeezenet1_1", weights, num_classes=5)


def test_the_file_of_published_weights_is_known_by_its_name(tmp_path: Path) -> None:
    original = network("googlenet", 1000, aux_logits=True, init_weights=False, transform_input=True)
    torch.save(original.state_dict(), tmp_path / "googlenet-1378be20.pth")
    loaded = load_model("googlenet", tmp_path / "googlenet-1378be20.pth")
    assert same_outputs(loaded.model, original)
    assert loaded.labels is not None
    assert loaded.labels[1] == "goldfish"
    assert loaded.preprocess.fit == "crop"
    torch.save(blank("googlenet", 5), tmp_path / "googlenet-1378be20.pth")
    fine_tuned = load_model("googlenet", tmp_path / "googlenet-1378be20.pth")
    assert fine_tuned.labels is None
    assert fine_tuned.preprocess.fit == "squash"


def test_no_network(hub: Path) -> None:
    with pytest.raises(ModelError, match=r"could not be downloaded \(URLError") as caught:
        load_model("squeezenet1_1", "DEFAULT")
    for words in (
        "Without a network, bring the file from elsewhere",
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        str(hub),
    ):
        assert words in str(caught.value)


def test_a_damaged_download(hub: Path) -> None:
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ModelError, match=r"cannot be loaded .*; delete the file and try again"):
        load_model("squeezenet1_1", "DEFAULT")


def test_weights_that_nobody_publishes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(2, 2)\n")
    with pytest.raises(ModelError, match=r"no published weights 'DEFAULT' for .*; give a file"):
        load_model(f"{tmp_path / 'net.py'}:make", "DEFAULT")
    with pytest.raises(
        ModelError, match=r"no published weights 'IMAGENET1K_V7' .*: IMAGENET1K_V1, DEF"
    ):
        load_model("squeezenet1_1", "IMAGENET1K_V7")


# --- labels and classes


def test_labels_in_the_checkpoint_and_others_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"model": blank("squeezenet1_1", 5), "classes": FIVE}, path)
    assert load_model("squeezenet1_1", path).labels == tuple(FIVE)
    (tmp_path / "labels.txt").write_text("v\nw\nx\ny\nz\n")
    given = load_model("squeezenet1_1", path, labels=tmp_path / "labels.txt")
    assert given.labels == tuple("vwxyz")
    torch.save({"model": blank("squeezenet1_1", 5), "classes": FIVE[:4]}, path)
    with pytest.raises(ModelError, match=r"4 labels in .*net\.pth' \(pass labels=\) do not fit"):
        load_model("squeezenet1_1", path)
    assert load_model("squeezenet1_1", path, labels=FIVE).labels == tuple(FIVE)


def test_labels_as_many_as_classes_are_wanted() -> None:
    with pytest.raises(
        ModelError, match="4 labels do not fit 'squeezenet1_1', which has 5 classes"
    ):
        load_model("squeezenet1_1", num_classes=5, labels=FIVE[:4])
    with pytest.raises(ModelError, match="4 labels do not fit 'squeezenet1_1', which has 1000"):
        load_model("squeezenet1_1", labels=FIVE[:4])
    with pytest.raises(ModelError, match="num_classes= is a whole number from 1 up, not 0"):
        load_model("squeezenet1_1", num_classes=0)


def test_two_names_for_the_two_ends_of_one_logit() -> None:
    assert load_model("squeezenet1_1", num_classes=1, labels=["cat", "dog"]).labels == (
        "cat",
        "dog",
    )


# --- models of the user's own


OWN = """
    from torch import nn
    from parts import width

    class Net(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU())
            self.fc = nn.Linear(width, classes)

        def forward(self, x):
            return self.fc(self.body(x).mean((2, 3)))

    def make(num_classes=10):
        return Net(num_classes)

    def make_six():
        return Net(6)
"""


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "parts.py").write_text("width = 4\n")
    name = f"{tmp_path / 'net.py'}:make"
    original = load_model(name, num_classes=3).model
    path = tmp_path / "net.ckpt"
    torch.save({"state_dict": {f"model.{k}": v for k, v in original.state_dict().items()}}, path)
    loaded = load_model(name, path, labels=["a", "b", "c"])
    assert same_outputs(loaded.model, original)
    assert loaded.preprocess == Preprocess()
    with pytest.raises(ModelError, match=r"num_classes=4 was asked for, but .* has 3 classes"):
        load_model(name, path, num_classes=4)
    with pytest.raises(
        ModelError, match=r"2 of another shape: fc\.weight \(3, 4\) where .* \(6, 4\)"
    ):
        load_model(f"{name}_six", path)
    assert load_model(f"{name}_six", labels=list("abcdef")).labels == tuple("abcdef")
    with pytest.raises(ModelError, match=r"5 labels do not fit .*no layer with so many outputs"):
        load_model(f"{name}_six", labels=FIVE)


def test_a_trusted_module_of_ones_own_finds_its_class_beside_the_function(tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "parts.py").write_text("width = 4\n")
    name = f"{tmp_path / 'own_net.py'}:make"
    original = load_model(name, num_classes=3).model
    state = original.state_dict()
    # What a script beside own_net.py, which imports it by its plain name, would have saved.
    type(original).__module__ = "own_net"
    sys.modules["own_net"] = sys.modules[original.forward.__globals__["__name__"]]
    try:
        torch.save(original, tmp_path / "whole.pth")
    finally:
        del sys.modules["own_net"]
    loaded = load_model(name, tmp_path / "whole.pth", trust_pickle=True)
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())


def test_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    original = seen(timm.create_model("resnet10t", num_classes=5))
    torch.save(original.state_dict(), tmp_path / "net.pth")
    loaded = load_model("timm:resnet10t", tmp_path / "net.pth", labels=FIVE)
    assert same_outputs(loaded.model, original)
    assert loaded.preprocess.size == (176, 176)  # timm trained this one so
    assert loaded.preprocess.fit == "squash"


def test_devices() -> None:
    assert next(load_model("squeezenet1_1", device="cpu").model.parameters()).device.type == "cpu"
    for device in ("cuda:99", "no_such_device", "meta"):
        with pytest.raises(DeviceError, match=f"device '{device}' cannot be used .*available: cpu"):
            load_model("squeezenet1_1", device=device)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_model_is_moved() -> None:
    loaded = load_model("squeezenet1_1", device="cuda")
    assert {p.device.type for p in loaded.model.parameters()} == {"cuda"}
