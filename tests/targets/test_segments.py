"""The target of segmentations: regions by hand, networks against an oracle, words of errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.oracle import agree, raw_by_zeros

# 2 classes on 2 x 3 positions; class 1 is predicted at (0, 2), (1, 0) and (1, 1).
LOGITS = torch.tensor([[[[9.0, 8.0, 1.0], [2.0, 3.0, 7.0]], [[0.0, 0.5, 4.0], [5.0, 6.0, -1.0]]]])
MASK = torch.tensor([[True, False, False], [True, False, True]])


@pytest.mark.parametrize(
    ("target", "score"),
    [
        (gh.Segment(1), 4 + 5 + 6),
        (gh.Segment(1, reduce="mean"), 5.0),
        (gh.Segment(0), 9 + 8 + 7),
        (gh.Segment(1, MASK), 0 + 5 - 1),
        (gh.Segment(1, MASK.numpy()), 0 + 5 - 1),
        (gh.Segment(1, MASK[None], reduce="mean"), 4 / 3),
        (gh.Segment(0, MASK * 0.5), (9 + 2 + 7) / 2),
        (gh.Segment(0, MASK * 0.5, reduce="mean"), (9 + 2 + 7) / 3),
        (gh.Segment(0, (1, 2)), 7.0),
        # Of a mask of 4 x 6, nearest takes every other row and column.
        (gh.Segment(1, MASK.repeat_interleave(2, 0).repeat_interleave(2, 1)), 0 + 5 - 1),
        # Of a mask smaller than the output, each position stands for several.
        (gh.Segment(1, torch.tensor([[False], [True]])), 5 + 6 - 1),
    ],
)
@pytest.mark.parametrize(
    "output",
    [LOGITS, {"out": LOGITS, "aux": LOGITS + 1}, {"logits": LOGITS}, (LOGITS, torch.ones(1, 2))],
    ids=["tensor", "torchvision's", "ModelOutput's", "tuple"],
)
def test_regions_by_hand(target: gh.Segment, score: float, output: object) -> None:
    assert torch.allclose(target(output), torch.tensor([float(score)]))


def test_volumes_and_batches() -> None:
    volumes = torch.stack([LOGITS[0], LOGITS[0] + 1]).unsqueeze(2)  # depth 1
    assert gh.Segment(1, (0, 1, 0))(volumes).tolist() == [5, 6]
    assert gh.Segment(1, MASK[None])(volumes).tolist() == [4, 7]  # one mask (1, 2, 3) for both
    each = torch.stack([MASK, ~MASK])[:, None]
    assert gh.Segment(1, each)(volumes).tolist() == [4, 0.5 + 4 + 6 + 3]
    assert gh.Segment(1)(volumes).tolist() == [15, 18]


def test_one_class_is_predicted_above_zero() -> None:
    one = torch.tensor([[[[2.0, -1.0, 0.5]]]])
    assert gh.Segment(0)(one).tolist() == [2.5]
    with pytest.raises(gh.TargetError, match=r"image 0: its one logit is nowhere above 0\. Say"):
        gh.Segment(0)(-one.abs())


def test_it_says_itself() -> None:
    assert repr(gh.Segment(3)) == "Segment(3, where=its predicted region, reduce='sum')"
    assert repr(gh.Segment(3, MASK)) == "Segment(3, where=mask (2, 3), reduce='sum')"
    assert repr(gh.Segment(3, (1, np.int64(2)))) == "Segment(3, where=(1, 2), reduce='sum')"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gh.Segment(-1), "a class is a whole number from 0 up, not -1"),
        (lambda: gh.Segment(0, reduce="max"), "is 'sum' or 'mean', not 'max'"),
        (lambda: gh.Segment(0, (1.5, 2)), r"each number of a point is a whole number .* not 1\.5"),
        (lambda: gh.Segment(0, [1, 2]), r"a point \(a tuple of whole numbers\) or None, not list"),
        (lambda: gh.Segment(0, torch.ones(2, 2).long()), r"not torch.int64.*labels == number"),
        (lambda: gh.Segment(0, -torch.ones(2, 2)), "no negative number"),
        (lambda: gh.Segment(0, torch.full((2, 2), torch.nan)), "NaN"),
        (lambda: gh.Segment(2)(LOGITS), r"class 2 is out of range: this output has classes 0 to 1"),
        (lambda: gh.Segment(0, (2, 0))(LOGITS), r"point \(2, 0\) is not in the output.* are 2x3"),
        (lambda: gh.Segment(0, (0, 0, 0))(LOGITS), r"point \(0, 0, 0\) is not in the output"),
        (lambda: gh.Segment(0, torch.ones(3))(LOGITS), r"2 axes of space.* has shape \(3,\), the"),
        (lambda: gh.Segment(0, torch.ones(2, 2, 3))(LOGITS), r"2 masks came for a batch of 1"),
        (lambda: gh.Segment(0, MASK & ~MASK)(LOGITS), r"mask of image 0 is empty at .* size, 2x3"),
        (
            lambda: gh.Segment(1, torch.eye(9)[[1]].bool().expand(9, 9))(LOGITS),
            "a region thinner than a position of the output is lost",
        ),
        (
            lambda: gh.Segment(0)(
                torch.cat([LOGITS, LOGITS - torch.tensor([99.0, 0])[:, None, None]])
            ),
            r"0 is predicted nowhere in image 1: predicted there are 1 \(6 positions\)\. Take",
        ),
    ],
)
def test_what_is_not_legal(make: Callable[[], object], message: str) -> None:
    with pytest.raises(gh.TargetError, match=message):
        make()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.ones(2, 3), r"(?s)logits of a segmentation.*\na tensor of shape \(2, 3\)"),
        (
            {"masks": LOGITS, "boxes": LOGITS},
            r"(?s)It is\n'masks': \(1, 2, 2, 3\).*'boxes'.*Pass output=",
        ),
        (LOGITS.argmax(1), r"torch.int64"),
    ],
)
def test_an_output_that_is_no_segmentation(output: object, message: str) -> None:
    with pytest.raises(gh.OutputError, match=message):
        gh.Segment(0)(output)


def test_a_class_of_a_segmentation_is_told_of_segment() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 4, 1))
    with pytest.raises(gh.OutputError, match=r"a segmentation's.*target=Segment\(1\)"):
        gh.explain(net, torch.rand(1, 3, 8, 8), "0", target=1)


class UNet(nn.Module):
    """Two levels and a skip, in any number of dimensions."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.down = conv(1, 4, 3, padding=1)
        self.bottom = conv(4, 6, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.head = conv(10, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu_()
        deep = self.up(self.bottom(skip).relu_())
        logits: Tensor = self.head(torch.cat([skip, deep], 1))
        return logits


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("layer", ["bottom", "down", "up"])
def test_a_u_net_within_a_mask_and_in_its_own_region(dims: int, layer: str) -> None:
    torch.manual_seed(0)
    net = UNet(dims).double().eval()
    x = torch.randn(2, 1, *(4, 8, 12)[-dims:], dtype=torch.float64)
    mask = torch.rand(x.shape[2:]) > 0.6
    label = int(net(x).argmax(1).flatten().mode().values)
    own = net(x).argmax(1) == label
    for where, region in ((mask, mask.expand(own.shape)), (None, own)):
        result = gh.explain(net, x, layer, target=gh.Segment(label, where))
        by_zeros = raw_by_zeros(net, layer, lambda region=region: net(x)[:, label][region])
        assert result.maps.shape == (2, *x.shape[2:])
        agree(result.raw, by_zeros)


NETS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "fcn": (
        lambda: torchvision.models.segmentation.fcn_resnet50(
            weights=None, weights_backbone=None, num_classes=4, aux_loss=True
        ),
        "backbone.layer4.2",
    ),
    "deeplab": (
        lambda: torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        ),
        "classifier.0",
    ),
    "lraspp": (
        lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        ),
        "backbone.16",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_torchvision_s_networks(name: str) -> None:
    make, layer = NETS[name]
    torch.manual_seed(0)
    net, x = make().eval(), torch.rand(1, 3, 64, 96)
    logits = net(x)["out"].detach()
    label = int(logits.argmax(1).flatten().mode().values)
    region = (logits.argmax(1) == label).float()
    result = gh.explain(net, x, layer, target=gh.Segment(label))
    assert torch.allclose(result.scores, (logits[:, label] * region).sum((1, 2)))
    agree(
        result.raw,
        raw_by_zeros(net, layer, lambda: (net(x)["out"][:, label] * region).sum((1, 2))),
    )


@pytest.mark.filterwarnings("ignore")  # what transformers says of itself
def test_segformer_with_a_mask_of_the_input_s_size() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[4, 8, 12, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 2],
        decoder_hidden_size=8,
        num_labels=4,
    )
    net = transformers.SegformerForSemanticSegmentation(config).double().eval()
    x = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[16:32, 40:80] = True  # in the logits of 16 x 24: rows 4 to 7, columns 10 to 19
    layer = "decode_head.linear_fuse"
    result = gh.explain(net, x, layer, target=gh.Segment(2, mask))
    assert result.maps.shape == (1, 64, 96)
    agree(
        result.raw,
        raw_by_zeros(net, layer, lambda: net(x).logits[:, 2, 4:8, 10:20].sum((1, 2))),
    )
