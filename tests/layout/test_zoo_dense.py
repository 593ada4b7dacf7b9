"""Segmentation networks and detectors: ``"auto"`` and a target, and the map equals an oracle.

The map must be of features: the logits of a segmentation are its answer, and no layer to explain
it with. Weights are drawn at random; the oracle and the permuted axes are in `zoo`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import detection, segmentation
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN

import gradcam_hooks as gh
from tests.support.zoo import drawn, explained, first, images


class UNet(nn.Module):
    """Two levels down, two up, with what was seen on the way down joined on the way up."""

    def __init__(self, axes: int = 2, classes: int = 3) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[axes](2)
        self.down1 = nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(conv(6, 8, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(conv(8, 12, 3, padding=1), nn.ReLU())
        self.up2 = nn.Sequential(conv(20, 8, 3, padding=1), nn.ReLU())
        self.up1 = nn.Sequential(conv(14, 6, 3, padding=1), nn.ReLU())
        self.head = conv(6, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(self.pool(one))
        deep = self.bottom(self.pool(two))
        two = self.up2(torch.cat([interpolate(deep, two.shape[2:]), two], 1))
        one = self.up1(torch.cat([interpolate(two, one.shape[2:]), one], 1))
        logits: Tensor = self.head(one)
        return logits


def trunk() -> nn.Module:
    """Four steps of a network, at strides 4, 8, 16 and 32."""
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    before, stride = 3, 4
    for number, channels in enumerate((8, 12, 16, 24)):
        conv = nn.Conv2d(before, channels, stride + 1, stride, padding=stride // 2)
        steps[f"step{number}"] = nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
        before, stride = channels, 2
    return nn.Sequential(steps)


def fcn() -> nn.Module:
    features = IntermediateLayerGetter(trunk(), {"step3": "out"})
    return segmentation.FCN(features, segmentation.fcn.FCNHead(24, 5))


def deeplab() -> nn.Module:
    features = IntermediateLayerGetter(trunk(), {"step3": "out"})
    return segmentation.DeepLabV3(features, segmentation.deeplabv3.DeepLabHead(24, 5))


def lraspp() -> nn.Module:
    features = IntermediateLayerGetter(trunk(), {"step1": "low", "step3": "high"})
    return segmentation.LRASPP(features, 12, 24, 5)


def segformer() -> nn.Module:
    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            num_labels=5, hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1], decoder_hidden_size=16
        )
    )


SEGMENTATION = {
    "U-Net": (UNet, (2, 3, 32, 48), "up1"),
    "U-Net of one class": (lambda: UNet(classes=1), (1, 3, 32, 32), "up1"),
    "3-D U-Net": (lambda: UNet(3), (1, 3, 8, 16, 24), "up1"),
    "DeepLab": (deeplab, (1, 3, 64, 96), "classifier.3"),
    "FCN": (fcn, (1, 3, 64, 96), "classifier.3"),
    "LR-ASPP": (lraspp, (1, 3, 64, 96), "classifier.cbr"),
    "transformers segformer": (segformer, (1, 3, 64, 96), "decode_head.dropout"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SEGMENTATION)
def test_a_segmentation_is_explained_by_features_and_not_by_its_logits(name: str) -> None:
    make, shape, layer = SEGMENTATION[name]
    torch.manual_seed(2)
    net, x = drawn(make()), images(shape)
    output = net(x)
    logits = output if isinstance(output, Tensor) else output.get("logits", output.get("out"))
    label = logits.shape[1] * 3 // 5  # other draws of the last layer speak against all positions
    mask = torch.zeros(logits.shape[2:], dtype=torch.bool)
    mask[..., : mask.shape[-1] // 2] = True

    def score(output: object) -> Tensor:
        logits = output if isinstance(output, Tensor) else output.get("logits", output.get("out"))
        return logits[:, label, ..., : logits.shape[-1] // 2].flatten(1).sum(1)

    result = explained(net, first, score, x, target=gh.Segment(label, mask))
    assert result.layers == (layer,)
    assert gh.layers(net, x).recommended == layer


def test_the_predicted_region_of_a_u_net() -> None:
    torch.manual_seed(1)
    net, x = drawn(UNet()), images((2, 3, 32, 48))

    def score(output: object) -> Tensor:
        assert isinstance(output, Tensor)
        return (output[:, 1] * (output.argmax(1) == 1)).flatten(1).sum(1)

    assert explained(net, first, score, x, target=gh.Segment(1)).layers == ("up1",)


def fpn() -> nn.Module:
    names = {f"step{number}": str(number) for number in range(4)}
    return BackboneWithFPN(trunk(), names, [8, 12, 16, 24], 32)


_SMALL = {"min_size": 64, "max_size": 96}
_FEW = {**_SMALL, "box_score_thresh": 0.0, "box_detections_per_img": 3}


def faster_rcnn() -> nn.Module:
    return detection.FasterRCNN(fpn(), 4, **_FEW)


def mask_rcnn() -> nn.Module:
    return detection.MaskRCNN(fpn(), 4, **_FEW)


def keypoint_rcnn() -> nn.Module:
    return detection.KeypointRCNN(fpn(), 2, num_keypoints=3, **_FEW)


def retinanet() -> nn.Module:
    return detection.RetinaNet(fpn(), 4, score_thresh=0.0, detections_per_img=3, **_SMALL)


def fcos() -> nn.Module:
    return detection.FCOS(fpn(), 4, score_thresh=0.0, detections_per_img=3, **_SMALL)


class Steps(nn.Module):
    """Two maps of one picture, as SSD takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.fine(x)
        return OrderedDict([("0", fine), ("1", self.coarse(fine))])


def ssd() -> nn.Module:
    boxes = detection.anchor_utils.DefaultBoxGenerator([[2], [2]])
    return detection.ssd.SSD(Steps(), boxes, (64, 64), 4, score_thresh=0.0, detections_per_img=3)


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "Faster R-CNN": faster_rcnn,
    "Mask R-CNN": mask_rcnn,
    "Keypoint R-CNN": keypoint_rcnn,
    "RetinaNet": retinanet,
    "FCOS": fcos,
    "SSD": ssd,
}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_box_of_a_detector(name: str) -> None:
    torch.manual_seed(1)
    net = drawn(DETECTORS[name]())
    pictures = [images((3, 64, 96)).sigmoid()]

    def score(output: object) -> Tensor:
        return output[0]["scores"][:1]  # type: ignore[index]  # the surest is the first

    result = explained(net, first, score, pictures, target=gh.Box())
    assert result.layers[0].startswith("backbone.")


def test_regions_of_interest_are_no_map_of_the_image() -> None:
    torch.manual_seed(1)
    net = drawn(detection.MaskRCNN(fpn(), 4, **{**_FEW, "box_detections_per_img": 1}))
    pictures = [images((3, 64, 96)).sigmoid()]
    # One region of one image, 14 x 14 cells, has the very shape of a map of the image.
    with pytest.raises(gh.LayoutError, match="a map for each region that was cut out of the image"):
        gh.explain(net, pictures, "roi_heads.mask_head", target=gh.Box())
    assert gh.explain(net, pictures, target=gh.Box()).layers[0].startswith("backbone.")


def detr() -> nn.Module:
    trunk = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 24, "num_queries": 6}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    return transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone_config=trunk,
            backbone=None,
            num_labels=4,
            **sizes,
            **heads,
            **wide,
        )
    )


@pytest.mark.filterwarnings("ignore")
def test_the_queries_of_a_detr_are_no_patches() -> None:
    torch.manual_seed(1)
    net, x = drawn(detr()), images((1, 3, 64, 96))

    def score(output: object) -> Tensor:
        return output.logits[:, 2, 1]  # type: ignore[attr-defined]

    # 6 queries would be 2 x 3 patches of 32 pixels
    result = explained(net, first, score, x, target=score)
    assert "decoder" not in result.layers[0]
    box = gh.explain(net, x, target=gh.Box(index=2, label=1))
    assert box.layers == result.layers
    assert torch.allclose(box.raw, result.raw)
