"""The explainer as its users meet it: the laws of Grad-CAM, every way to ask, every way to err."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images, residual


def test_on_a_gap_linear_network_gradcam_is_cam() -> None:
    net, x = gap_linear(), images()
    activation = net[1](net[0](x)).detach()
    positions = activation[0, 0].numel()
    for target in range(5):
        raw = gh.explain(net, x, "1", target=target).raw
        # d logit / d A_k = W[target, k] / positions everywhere: Zhou et al.'s class activation map
        cam = torch.einsum("k,bkhw->bhw", net[4].weight[target].detach(), activation) / positions
        assert torch.allclose(raw, cam, rtol=1e-12, atol=1e-15)


def test_scaling_the_score_scales_the_raw_map_and_leaves_the_map() -> None:
    net, x = residual(), images()
    one = gh.explain(net, x, "bn2", target=lambda out: out[:, 1])
    ten = gh.explain(net, x, "bn2", target=lambda out: 10 * out[:, 1])
    assert torch.allclose(ten.raw, 10 * one.raw)
    assert torch.allclose(ten.maps, one.maps, atol=1e-6)
    assert one.target is None


def test_a_batch_equals_its_images_one_by_one() -> None:
    net, x = residual(), images(4)
    together = gh.explain(net, x, "bn2", target=[0, 1, 2, 0])
    for i, target in enumerate([0, 1, 2, 0]):
        alone = gh.explain(net, x[i : i + 1], "bn2", target=target)
        assert torch.allclose(together.raw[i], alone.raw[0], atol=1e-14)
        assert torch.allclose(together.maps[i], alone.maps[0], atol=1e-6)


def test_flipping_the_input_of_an_equivariant_network_flips_the_map() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).double()
    x = images()
    straight = gh.explain(net, x, "1", target=0).maps
    assert torch.allclose(gh.explain(net, x.flip(-1), "1", target=0).maps.flip(-1), straight)


def test_the_result_says_what_it_is() -> None:
    net, x = gap_linear(), images(3, (8, 12))
    result = gh.explain(net, x, "0")
    assert result.maps.shape == (3, 8, 12)
    assert result.maps.dtype == torch.float32
    assert result.maps.flatten(1).amin(1).eq(0).all()
    assert result.maps.flatten(1).amax(1).eq(1).all()
    assert result.raw.shape == (3, 8, 12)
    assert torch.equal(result.output, net(x).detach())
    assert torch.equal(result.target, net(x).argmax(1))
    assert torch.equal(result.scores, net(x).amax(1).detach())
    assert (result.layers, result.method) == (("0",), "gradcam")
    assert result.layouts == ("b c=6 h=8 w=12",)
    assert result.diagnosis == ("ok", "ok", "ok")
    with pytest.raises(AttributeError):
        result.maps = x  # type: ignore[misc]


def test_several_targets_per_image_in_one_forward_pass() -> None:
    net, x = residual(), images()
    runs: list[int] = []
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    result = gh.explain(net, x, "conv2", target=gh.TopK(2))
    assert len(runs) == 1
    assert result.maps.shape == (2, 2, 8, 8)
    assert result.raw.shape == (2, 2, 8, 8)
    assert result.scores.shape == (2, 2)
    assert [len(words) for words in result.diagnosis] == [2, 2]
    assert torch.equal(result.target, net(x).topk(2).indices)
    for i in range(2):
        for t in range(2):
            one = gh.explain(net, x[i : i + 1], "conv2", target=int(result.target[i, t]))
            assert torch.allclose(result.raw[i, t], one.raw[0], atol=1e-14)


def test_several_layers_come_in_the_order_named_and_are_fused() -> None:
    net, x = residual(), images()
    late, early = gh.explain(net, x, "conv2", target=0), gh.explain(net, x, "conv1", target=0)
    both = gh.explain(net, x, ["conv2", "conv1"], target=0)
    assert both.layers == ("conv2", "conv1")
    assert torch.allclose(both.raw[0], late.raw)
    assert torch.allclose(both.raw[1], early.raw)
    mean = (late.maps + early.maps) / 2
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    assert torch.allclose(both.maps, (mean - low) / (high - low), atol=1e-6)
    most = gh.explain(net, x, ["conv2", "conv1"], target=0, fuse="max").maps
    assert torch.allclose(most, torch.maximum(late.maps, early.maps), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (8, 13)])
def test_auto_takes_the_last_spatial_layer_and_says_so(size: tuple[int, int]) -> None:
    assert gh.explain(gap_linear(), images(2, size)).layers == ("1",)
    assert gh.explain(residual(), images(2, size)).layers == ("drop",)
    named = gh.explain(residual(), images(2, size), "drop")
    assert torch.equal(gh.explain(residual(), images(2, size)).maps, named.maps)


def test_auto_passes_over_a_layer_of_which_one_position_matters() -> None:
    class FirstCell(nn.Module):
        """As a class token: the head reads one position of the last layer."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.mix = nn.Conv2d(4, 4, 3, padding=1)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.mix(self.conv(x).relu())[:, :, 0, 0])
            return logits

    torch.manual_seed(0)
    net = FirstCell().double()
    with gh.GradCAM(net) as cam:
        runs: list[int] = []
        handle = net.register_forward_pre_hook(lambda *_: runs.append(1))
        assert cam(images()).layers == ("conv",)
        assert cam(images()).layers == ("conv",)
        handle.remove()
    # one to see what is spatial, and that the head is given a part of mix; one for both; then the
    # layer is known
    assert len(runs) == 3
    assert gh.layers(net, images()).recommended == "conv"
    assert gh.explain(net, images(), sampler=gh.Noise(samples=2)).layers == ("conv",)


def test_auto_on_a_network_without_space_is_an_error() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    with pytest.raises(gh.LayerError, match=r"no layer of Sequential gives a spatial output"):
        gh.explain(net, images())


def test_several_inputs_and_keywords_go_where_the_forward_takes_them() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, 3)

        def forward(self, left: Tensor, right: Tensor, *, mask: Tensor) -> dict[str, Tensor]:
            pooled = (self.trunk(left) * mask).mean((2, 3)) - right.mean()
            return {"logits": self.fc(pooled), "pooled": pooled}

    torch.manual_seed(0)
    net = Two().double()
    left, right, mask = images(), images(), torch.rand(6, 6, dtype=torch.float64)
    with gh.GradCAM(net, "trunk") as cam:
        result = cam(left, right, mask=mask, target=1)
    weights = (net.fc.weight[1][:, None, None] * mask / 36).mean((1, 2))
    expected = torch.einsum("c,bchw->bhw", weights, net.trunk(left))
    assert torch.allclose(result.raw, expected)
    assert set(result.output) == {"logits", "pooled"}
    assert not result.output["logits"].requires_grad
    chosen = gh.explainer("gradcam", net, "trunk", output="pooled")(left, right, mask=mask)
    assert torch.equal(chosen.scores, net(left, right, mask=mask)["pooled"].amax(1).detach())


def test_labels_name_targets() -> None:
    net = gap_linear()
    cam = gh.GradCAM(net, "1", labels=["ant", "bee", "cat", "dog", "eel"])
    result = cam(images(), target="cat")
    assert result.target.tolist() == [2, 2]
    assert result.labels == ("ant", "bee", "cat", "dog", "eel")


def test_labels_of_a_transformers_model_are_known() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        id2label={0: "cat", 1: "dog", 2: "eel"},
        label2id={"cat": 0, "dog": 1, "eel": 2},
    )
    net = ResNetForImageClassification(config).eval()
    last = gh.explain(net, images(2, (32, 32)).float(), "resnet.encoder.stages.1", target="eel")
    assert last.target.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fuse": "sum"}, gh.LayerError, r"fuse= is one of 'mean', 'max', .*, not 'sum'"),
        ({"call": 1.5}, gh.LayerError, r"call= is a number from 0 up, 'all' or None, not 1\.5"),
        ({"call": True}, gh.LayerError, r"not True"),
    ],
)
def test_a_wrong_option_is_told_on_making(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gh.GradCAM(gap_linear(), "1", **options)  # type: ignore[arg-type]


def test_a_model_that_is_none() -> None:
    with pytest.raises(gh.InputError, match=r"torch\.nn\.Module, not str.*load_model"):
        gh.GradCAM("resnet50", "layer4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.float64), r"shape \(3, 8, 8\).*4 axes.*image\[None\]"),
        (torch.zeros(2, 5), r"no image: .*what came is \(2, 5\)"),
        (None, r"no image is given"),
        ("a word".split, r"no tensor at all"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"floating-point tensor.*\(1, 3, 8, 8\)"),
    ],
)
def test_an_input_without_an_image(x: object, message: str) -> None:
    with pytest.raises(gh.InputError, match=message):
        gh.explain(gap_linear(), x)


def test_parameters_made_under_inference_mode_are_told_apart() -> None:
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(2))
    with pytest.raises(gh.GradientError, match=r"made under inference_mode.*copy\.deepcopy"):
        gh.explain(net, torch.zeros(1, 3, 8, 8), "0", target=lambda out: out.mean((1, 2)))
    import copy

    gh.explain(copy.deepcopy(net), torch.rand(1, 3, 8, 8), "0", target=lambda o: o.mean((1, 2)))


# --- what is wrong with a map, in a word ---------------------------------------------------------


def test_all_negative_keeps_its_sign_in_raw() -> None:
    net = gap_linear()
    with torch.no_grad():
        net[4].weight.fill_(-1)
    result = gh.explain(net, images(), "1", target=0)
    assert result.diagnosis == ("all-negative", "all-negative")
    assert result.maps.eq(0).all()
    assert (result.raw < 0).any()
    assert "speaks against this class" in result.diagnosis[0].message


def test_zero_gradient_names_the_likely_cause() -> None:
    net = gap_linear()
    with torch.no_grad():
        net[4].weight[3] = 0
    result = gh.explain(net, images(), "1", target=[3, 0])
    assert result.diagnosis[0] == "zero-gradient"
    assert "saturated" in result.diagnosis[0].message
    assert result.diagnosis[1] != "zero-gradient"
    several = gh.explain(net, images(), "1", target=gh.AllClasses())
    assert [words[3] for words in several.diagnosis] == ["zero-gradient"] * 2
    assert "zero-gradient" not in [words[2] for words in several.diagnosis]


def test_a_layer_beside_the_path_has_no_gradient() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Conv2d(3, 4, 3)
            self.main = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.main(x).mean((2, 3))

    for frozen in (False, True):
        net = Beside().double().requires_grad_(not frozen)
        for target in (0, gh.AllClasses()):
            for layer in ("aside", ["main", "aside"]):
                with pytest.raises(gh.GradientError, match=r"no gradient .* back to 'aside'"):
                    gh.explain(net, images(), layer, target=target)
        assert gh.explain(net, images()).layers == ("main",)
        table = {row.name: row.gradient for row in gh.layers(net, images())}
        assert table == {"aside": False, "main": True, "": True}


def test_two_taps_of_which_one_lies_under_no_grad_each_get_their_gradient() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1)
            self.second = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.first(x)
            return self.second(x.relu()).mean((2, 3))

    torch.manual_seed(0)
    net = Frozen().double()
    both = gh.explain(net, images(), ["first", "second"], target=0)
    assert torch.equal(both.raw[0], gh.explain(net, images(), "first", target=0).raw)
    assert torch.equal(both.raw[1], gh.explain(net, images(), "second", target=0).raw)
    assert both.raw[0].ne(0).any()


def test_constant_is_a_map_of_one_position() -> None:
    net = gap_linear()
    with torch.no_grad():
        net[4].weight.fill_(1)
    result = gh.explain(net, images(), "2", target=0)
    assert result.raw.shape == (2, 1, 1)
    assert (result.raw > 0).all()
    assert result.diagnosis == ("constant", "constant")
    assert "Take an earlier layer" in result.diagnosis[0].message


def test_maps_that_cancel_each_other_are_told_too() -> None:
    class Opposite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.there, self.back = nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.there(x).mean((2, 3)) + self.back(1 - x).mean((2, 3))

    x = torch.linspace(0, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    result = gh.explain(Opposite(), x, ["there", "back"], target=0)
    # x and 1 - x, each from 0 to 1, have the mean 1/2 everywhere
    assert result.maps.eq(0).all()
    assert result.diagnosis == ("constant",)
    assert gh.explain(Opposite(), x, "there", target=0).diagnosis == ("ok",)


def test_non_finite_names_the_first_bad_module() -> None:
    net = residual()
    with torch.no_grad():
        net.bn1.weight[0] = float("nan")
    result = gh.explain(net, images(), "bn2", target=0)
    assert result.diagnosis == ("non-finite", "non-finite")
    assert "The first module to give one is 'bn1'." in result.diagnosis[0].message
    assert result.maps.eq(0).all()


# --- pictures ----------------------------------------------------------------------------------


@pytest.fixture
def photo() -> Image.Image:
    """A real photograph, wider than high."""
    from skimage import data

    return Image.fromarray(data.coffee())


def test_a_path_a_picture_an_array_and_their_tensor_give_one_map(
    photo: Image.Image, tmp_path: Path
) -> None:
    net = gap_linear().float()
    path = tmp_path / "coffee.png"
    photo.save(path)
    tensor, _ = gh.Preprocess()(photo)
    expected = gh.explain(net, tensor[None], "1", target=0).maps
    for given in (photo, path, str(path), np.asarray(photo), [path], [photo]):
        assert torch.equal(gh.explain(net, given, "1", target=0).maps, expected)
    two = gh.explain(net, [path, photo.rotate(90, expand=True)], "1", target=0)
    assert two.maps.shape == (2, 224, 224)
    assert torch.allclose(two.maps[0], expected[0], atol=1e-6)


def test_a_picture_goes_to_the_models_dtype(photo: Image.Image) -> None:
    assert gh.explain(gap_linear(), photo, "1").raw.dtype == torch.float64


def test_a_list_of_numbers_is_no_picture() -> None:
    with pytest.raises(gh.InputError, match="no image"):
        gh.explain(gap_linear(), [1, 2])


@pytest.mark.parametrize("method", ["eigencam", "fem"])
def test_a_method_without_gradients_asks_for_none(method: str) -> None:
    net, x = residual(), images()
    backward: list[int] = []
    net.fc.register_full_backward_hook(lambda *_: backward.append(1))
    one = gh.explain(net, x, "bn2", method=method, target=1)
    several = gh.explain(net, x, "bn2", method=method, target=gh.AllClasses())
    assert backward == []
    assert several.raw.shape == (2, 3, 8, 8)
    for target in range(3):
        assert torch.equal(several.raw[:, target], one.raw)
        assert torch.equal(several.scores[:, target], net(x)[:, target].detach())
