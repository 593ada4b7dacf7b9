"""The rows of silently wrong maps that `test_peers` and `test_methods_peers` leave: transformers,
outputs of several heads, blank maps without a word, training modes, overlays.

Each test shows what a library of today does, and then what this one does; when a peer mends its
fault, its half fails here, and goes.
"""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from matplotlib import colormaps
from PIL import Image
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCAM
from torchcam.utils import overlay_mask
from torchvision.models.swin_transformer import SwinTransformer

import gradcam_hooks as gh
from gradcam_hooks.images.colors import blend
from tests.support.nets import gap_linear, images, residual
from tests.support.oracle import agree, error, oracle, raw_by_zeros
from tests.support.oracle import grad_cam as weighed
from tests.support.peers import captum, grad_cam, leaf, new_torchcam, torchcam

TOLERANCE = 1e-5


def vit() -> nn.Module:
    """Two blocks over 4 x 6 patches of 16, in float64."""
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    return timm.create_model(name, img_size=(64, 96), depth=2, num_classes=5).double().eval()


def swin() -> nn.Module:
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 12, [2, 2], [1, 2], [2, 2], num_classes=5).double().eval()


def wide(batch: int = 1) -> Tensor:
    return images(batch, (64, 96))


class TwoHeads(nn.Module):
    """An auxiliary head's logits, and the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.auxiliary, self.main = nn.Linear(6, 4), nn.Linear(6, 4)
        self.double().eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.features(x).mean((2, 3))
        return self.auxiliary(pooled), self.main(pooled)


def test_a_model_that_returns_a_tuple() -> None:
    model, x = TwoHeads(), images(1)
    by_head = [raw_by_zeros(model, "features", lambda i=i: model(x)[i][:, 2]) for i in (0, 1)]

    def finished(raw: Tensor) -> Tensor:
        maps = nn.functional.interpolate(raw.relu()[:, None], (8, 8), mode="bilinear")[:, 0]
        return (maps - maps.min()) / (maps.max() - maps.min())

    # The first head goes for the first image, without a word; a second target asks the second.
    theirs = grad_cam(model, "features", x, [2])
    assert (theirs - finished(by_head[0])).abs().max() < TOLERANCE
    assert (theirs - finished(by_head[1])).abs().max() > 0.05
    theirs = grad_cam(model, "features", x, [2, 2])
    assert (theirs - finished(by_head[0] + by_head[1])).abs().max() < TOLERANCE

    with pytest.raises(gh.OutputError, match=r"several that could be(.|\n)*0: \(1, 4\)(.|\n)*1: "):
        gh.explain(model, x, "features", target=2)
    for head in (0, 1):
        result = gh.explain(model, x, "features", target=2, output=head)
        agree(result.raw, by_head[head])


def test_tokens_of_a_vit() -> None:
    model, x, layer = vit(), wide(), "blocks.1.norm1"
    theirs = captum(model, layer, x, [2])
    assert theirs.shape == (1, 1, 192)  # a value for each channel: the tokens went for channels
    assert torchcam(model, layer, x, [2]).shape == (1, 192)

    result = gh.explain(model, x, layer, target=2)
    assert result.raw.shape == (1, 4, 6)
    agree(result.raw, raw_by_zeros(model, layer, lambda: model(x)[:, 2], prefix=1))


def test_channels_last_of_a_swin() -> None:
    model, x, layer = swin(), wide(), "norm"
    assert captum(model, layer, x, [2]).shape == (1, 1, 12, 24)
    assert torchcam(model, layer, x, [2]).shape == (1, 12, 24)
    assert grad_cam(model, layer, x, [2]).shape == (1, 64, 96)  # as if nothing were the matter

    result = gh.explain(model, x, layer, target=2)
    seen = oracle(model, layer, lambda out: out[:, 2], x)
    right = weighed(*(one.permute(0, 3, 1, 2) for one in seen))
    assert result.raw.shape == right.shape == (1, 8, 12)
    agree(result.raw, right)


@new_torchcam
def test_the_last_block_of_a_vit(capsys: pytest.CaptureFixture[str]) -> None:
    def grid(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).reshape(1, 192, 4, 6)

    model, x = vit(), wide()
    with PeerGradCAM(model, [model.blocks[1]], reshape_transform=grid) as cam:
        assert not cam(x, [ClassifierOutputTarget(2)]).any()
    with TorchCAM(model, "blocks.1", reshape_transform=grid) as extractor:
        (theirs,) = extractor(2, model(x), normalized=False)
        assert not theirs.any()
    assert capsys.readouterr() == ("", "")

    result = gh.explain(model, x, "blocks.1", target=2)
    assert result.diagnosis == ("zero-gradient",)
    assert not result.maps.any()
    assert "last block of which the head reads one token" in result.diagnosis[0].message
    working = gh.layers(model, x).recommended
    assert working == "blocks.1.norm1"
    assert gh.explain(model, x, working, target=2).diagnosis == ("ok",)


@new_torchcam
@pytest.mark.parametrize(
    ("kind", "layer", "shape"),
    [
        ("heads of keys", "blocks.1.attn.k_norm", (25, 64)),
        ("attention matrices", "blocks.1.attn.attn_drop", (25, 25)),
        ("patch embedding", "conv_proj", (4, 6)),
    ],
    ids=["heads of keys", "attention matrices", "patch embedding"],
)
def test_the_automatic_layer_of_a_transformer(
    kind: str, layer: str, shape: tuple[int, int]
) -> None:
    x = wide().float()
    if kind == "patch embedding":
        torch.manual_seed(0)
        model = torchvision.models.VisionTransformer(96, 16, 2, 3, 192, 192, num_classes=5).eval()
        nn.init.normal_(model.heads.head.weight)
        x = images(1, (96, 96)).float()
        shape = (6, 6)
    else:
        model = vit().float()
        for block in model.blocks:
            block.attn.fused_attn = kind == "heads of keys"
    with TorchCAM(model, input_shape=tuple(x.shape[1:])) as extractor:
        assert extractor.target_names == [layer]
        (theirs,) = extractor(2, model(x), normalized=False)
    assert theirs.shape == (1, *shape)

    ours = gh.explain(model, x, target=2)
    assert not {"attn", "self_attention", "conv_proj"} & set(ours.layers[0].split("."))
    assert ours.diagnosis == ("ok",)
    assert ours.raw.shape == ((1, 6, 6) if kind == "patch embedding" else (1, 4, 6))
    # As deep as gradients reach: what ran after it, outside of attention, has none or no space.
    rows = list(gh.layers(model, x))
    deeper = rows[[row.name for row in rows].index(ours.layers[0]) + 1 :]
    assert not [r.name for r in deeper if r.spatial and r.gradient and r.calls == 1 and r.name]


def test_all_evidence_against_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    model, x = gap_linear(), images(1)
    with torch.no_grad():
        model[4].weight[2] = -model[4].weight[2].abs()
    assert not grad_cam(model, "1", x, [2]).any()
    assert not torchcam(model, "1", x, [2]).any()
    assert not captum(model, "1", x, [2]).any()
    assert capsys.readouterr() == ("", "")

    result = gh.explain(model, x, "1", target=2)
    assert result.diagnosis == ("all-negative",)
    assert "speaks against this class" in result.diagnosis[0].message
    agree(result.raw, raw_by_zeros(model, "1", lambda: model(x)[:, 2]))
    assert result.raw.max() <= 0


def test_a_nan_in_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    model, x = gap_linear(), images(1)
    sound = gap_linear()[:2](x)
    with torch.no_grad():
        model[4].weight[2] = torch.linspace(0.5, 1, 6)
        model[0].weight[3] = torch.nan
    assert grad_cam(model, "1", x, [2]).isnan().all()
    # One leaves the broken channel out, and shows a map as good as any.
    theirs = torchcam(model, "1", x, [2])
    weights = torch.linspace(0.5, 1, 6)[None, :, None, None] / 64
    keep = torch.tensor([0, 1, 2, 4, 5])
    assert error(theirs, (weights * sound)[:, keep].sum(1)) < 1e-6
    assert capsys.readouterr() == ("", "")

    result = gh.explain(model, x, "1", target=2)
    assert result.diagnosis == ("non-finite",)
    assert "'0'" in result.diagnosis[0].message  # the first module that gives one
    assert not result.maps.any()
    assert result.raw.isnan().any()


def test_the_training_modes_of_the_user() -> None:
    def modes(model: nn.Module) -> list[bool]:
        return [module.training for module in model.modules()]

    model, x = residual().train(), images()
    model.bn1.eval()  # a frozen norm, as for fine-tuning
    before = modes(model)
    gh.explain(model, x, "bn2", target=1)
    assert modes(model) == before

    with PeerGradCAM(model, [model.bn2]) as cam:
        cam(leaf(x), [ClassifierOutputTarget(1)] * 2)
    assert not any(modes(model))


def test_an_overlay_keeps_the_picture_s_brightness() -> None:
    dim, blank = np.full((4, 4, 3), 0.1, dtype=np.float32), np.zeros((4, 4), dtype=np.float32)
    theirs = show_cam_on_image(dim, blank, use_rgb=True, image_weight=1.0)
    assert (theirs == 255).all()  # nothing of the map is mixed in, and 0.1 became white

    result = gh.explain(gap_linear(), images(1, (4, 4)), "1")
    ours = np.asarray(result.overlay(dim, alpha=0.0))
    assert (ours == round(0.1 * 255)).all()


def test_an_overlay_of_a_mask_in_bytes() -> None:
    # 16 * 16 is 0 modulo 256: a mask of 16 is coloured as one of 0, and 15 as 225.
    sixteen, none, fifteen = (Image.new("L", (4, 4), value) for value in (16, 0, 15))
    ground = Image.new("RGB", (4, 4))
    drawn = [np.asarray(overlay_mask(ground, one, alpha=0.0)) for one in (sixteen, none, fifteen)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[2] == colormaps["jet"](225, bytes=True)[:3]).all()

    ramp = np.arange(256, dtype=np.float32)[None] / 255
    black = np.zeros((1, 256, 3), dtype=np.float32)
    light = blend(black, ramp, alpha=1.0, colormap="bone")[0].mean(1)
    assert (np.diff(light) > 0).all()
