"""The target of detectors: candidates by hand, detectors against an oracle, words of errors."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

import gradcam_hooks as gh
from tests.support.oracle import agree, raw_by_zeros

# Four candidates, as x1 y1 x2 y2; the first two nearly the same box. Two classes.
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 40, 30], [50, 0, 60, 40]])
CHANCES = torch.tensor([[0.6, 0.3], [0.7, 0.1], [0.1, 0.9], [0.2, 0.4]])
XYWH = torch.cat([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], 1)
OBJECTNESS = torch.tensor([[0.5], [0.5], [0.5], [1.0]])

V8 = torch.cat([XYWH, CHANCES], 1).T[None]  # (1, 4 + 2, 4)
V5 = torch.cat([XYWH, OBJECTNESS, CHANCES], 1)[None]  # (1, 4, 5 + 2)
DETECTIONS = [{"boxes": BOXES, "scores": CHANCES.amax(1), "labels": torch.tensor([1, 1, 2, 2])}]
SIGMOID = {"logits": CHANCES.logit()[None], "pred_boxes": XYWH[None] / 100}
# A softmax with "no object" behind it has the same probabilities for the two classes.
NOTHING = torch.cat([CHANCES, 1 - CHANCES.sum(1, keepdim=True) + 1e-6], 1).log()[None]
SOFTMAX = {"pred_logits": NOTHING, "pred_boxes": XYWH[None] / 100}


@pytest.mark.parametrize(
    ("box", "row", "label"),
    [
        (gh.Box(), 2, 1),
        (gh.Box(label=0), 1, 0),
        (gh.Box(label=1), 2, 1),
        # IoU with the first 1.0 and with the second 0.8: 0.6 > 0.56 for class 0, 0.3 for class 1.
        (gh.Box((0, 0, 10, 10)), 0, 0),
        (gh.Box((0, 0, 10, 10), label=1), 0, 1),
        (gh.Box((0, 0, 10, 8)), 1, 0),
        (gh.Box((50, 0, 60, 30)), 3, 1),  # IoU 0.75
        (gh.Box((50, 0, 60, 30), label=0), 3, 0),
        (gh.Box(index=1), 1, 0),
        (gh.Box(index=1, label=1), 1, 1),
    ],
)
def test_candidates_by_hand_of_raw_heads(box: gh.Box, row: int, label: int) -> None:
    chance = CHANCES[row, label]
    given = {name: getattr(box, name) for name in ("box", "label", "index")}
    for output, target, score in (
        (V8, box, chance),
        ((V8, [torch.ones(1, 6, 2, 2)]), box, chance),
        ({"feats": [torch.ones(1, 6, 2, 2)], "boxes": V8}, box, chance),
        (V8, gh.Box(**given, head="yolov8"), chance),
        (SIGMOID, gh.Box(**given, size=(100, 100), head="deformable-detr"), chance.logit()),
        (SOFTMAX, gh.Box(**given, size=(100, 100), head="detr"), chance.log()),
    ):
        assert torch.allclose(target(output), score[None])
    if box.index is not None or box.box is not None:  # else objectness makes it another's
        assert torch.allclose(box(V5), (OBJECTNESS[row] * chance))


def test_objectness_counts_in_the_choice() -> None:
    # 0.5 * 0.9 = 0.45 for the third, 1.0 * 0.4 for the fourth; of class 0 1.0 * 0.2 < 0.5 * 0.7.
    assert torch.allclose(gh.Box()(V5), torch.tensor([0.45]))
    assert torch.allclose(gh.Box(label=0)(V5), torch.tensor([0.35]))


@pytest.mark.parametrize(
    ("box", "score"),
    [
        (gh.Box(), 0.9),
        (gh.Box(label=1), 0.7),
        (gh.Box((0, 0, 10, 10)), 0.6),
        (gh.Box((0, 0, 10, 8)), 0.7),
        (gh.Box(index=3), 0.4),
        (gh.Box(index=3, label=2), 0.4),
        (gh.Box(np.array([50, 0, 60, 30]), label=2, part="x2"), 60.0),
    ],
)
def test_candidates_by_hand_of_detections(box: gh.Box, score: float) -> None:
    assert torch.allclose(box(DETECTIONS), torch.tensor([score]))


def test_sides_are_pixels_of_the_input() -> None:
    for part, side in zip(("x1", "y1", "x2", "y2"), (20.0, 20.0, 40.0, 30.0), strict=True):
        for output in (V8, V5, DETECTIONS):
            assert gh.Box(index=2, part=part)(output).tolist() == [side]  # type: ignore[arg-type]
        target = gh.Box(index=2, part=part, head="detr", size=(100, 100))  # type: ignore[arg-type]
        assert torch.allclose(target(SOFTMAX), torch.tensor([side]))
    flat = gh.Box(index=2, part="x2", head="detr", size=(50, 200))  # (height, width)
    assert torch.allclose(flat(SOFTMAX), torch.tensor([80.0]))


def test_a_batch_has_one_box_for_all_or_one_for_each() -> None:
    two = torch.cat([V8, V8.flip(-1)])
    assert torch.allclose(gh.Box((0, 0, 10, 10))(two), torch.tensor([0.6, 0.6]))
    each = gh.Box(torch.tensor([[0, 0, 10, 10], [50, 0, 60, 40]]))
    assert torch.allclose(each(two), torch.tensor([0.6, 0.4]))
    with pytest.raises(gh.TargetError, match="2 boxes came for a batch of 1"):
        each(V8)


def test_it_says_itself() -> None:
    assert repr(gh.Box()) == "Box()"
    shown = "Box((0.0, 0.0, 4.0, 5.0), label=1, part='x1', head='yolov8')"
    assert repr(gh.Box([0, 0, 4, 5], 1, part="x1", head="yolov8")) == shown
    assert gh.Box((0, 0, 4, 5)) == gh.Box(torch.tensor([0, 0, 4, 5]))


def test_softmax_or_sigmoid_is_asked_only_where_it_matters() -> None:
    # Query 0 is sure of class 0 among the classes; query 1 has the higher logits all over.
    logits = torch.tensor([[[2.0, -3.0, -3.0], [3.0, 3.0, 3.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]])
    output = {"logits": logits, "pred_boxes": boxes}
    with pytest.raises(gh.TargetError, match=r"query 0 for class 0 and query 1 for class 0\. Pass"):
        gh.Box(label=0)(output)
    assert gh.Box(label=0, head="detr")(output).item() == 2
    assert gh.Box(label=0, head="deformable-detr")(output).item() == 3
    assert gh.Box(index=1, label=0)(output).item() == 3
    assert gh.Box(index=0)(output).item() == 2
    with pytest.raises(gh.TargetError, match=r"class 2 is the last .* 'no object' in a DETR"):
        gh.Box(label=2)(output)
    assert gh.Box(label=2, head="deformable-detr")(output).item() == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gh.Box((0, 0, 10)), r"four numbers \(x1, y1, x2, y2\), .* shape \(3,\)"),
        (lambda: gh.Box("cat"), r"a box is four numbers \(x1, y1, x2, y2\), not 'cat'"),
        (lambda: gh.Box((10, 10, 5, 5)), r"x1 < x2 and y1 < y2.*make \(x, y, x \+ width"),
        (lambda: gh.Box((0, 0, 9, 9), index=0), r"Box takes box= or index=, not both"),
        (lambda: gh.Box(label=-1), r"Box\(label=\) is a whole number from 0 up, not -1"),
        (lambda: gh.Box(index=1.5), r"Box\(index=\) is a whole number from 0 up, not 1\.5"),
        (lambda: gh.Box(part="w"), r"Box\(part=\) is one of 'score', 'x1', .*, not 'w'"),
        (lambda: gh.Box(head="v9"), r"Box\(head=\) is one of 'yolov8', .*, not 'v9'"),
        (lambda: gh.Box(size=(3, 20, 20)), r"Box\(size=\) is \(height, width\)"),
        (lambda: gh.Box(size=64), r"Box\(size=\) is \(height, width\) in pixels, not 64"),
        (lambda: gh.Box(iou=0), r"Box\(iou=\) is a number above 0 and 1 at most, not 0"),
        (lambda: gh.Box(iou="half"), r"Box\(iou=\) is a number above 0 and 1 at most, not 'half'"),
        (lambda: gh.Box(label=2)(V8), r"class 2 is out of range: this output has classes 0 to 1"),
        (lambda: gh.Box(label=2)(V5), r"class 2 is out of range"),
        (lambda: gh.Box(label=9)(SIGMOID), r"class 9 is out of range"),
        (lambda: gh.Box(index=4)(V8), r"box 4 is out of range: this output has boxes 0 to 3"),
        (lambda: gh.Box(index=4)(DETECTIONS), r"box 4 is out of range"),
        (lambda: gh.Box((0, 0, 9, 9), head="detr")(SOFTMAX), r"pass the input's size too"),
        (
            lambda: gh.Box((50, 0, 60, 15))(V8),
            r"overlaps \(50\.0, 0\.0, 60\.0, 15\.0\) by an IoU of 0\.5 or more; of 4 candidates "
            r"the nearest is number 3, \(50\.0, 0\.0, 60\.0, 40\.0\), with 0\.38\. .*a lower iou=",
        ),
        (
            lambda: gh.Box((20, 20, 40, 30), label=1)(DETECTIONS),
            r"no box of class 1 in image 0 overlaps .*the nearest is number 0, .*with 0\.00",
        ),
        (lambda: gh.Box(label=7)(DETECTIONS), r"no box of class 7 .* the classes found are 1, 2"),
        (lambda: gh.Box(index=0, label=2)(DETECTIONS), r"box 0 of image 0 is of class 1, not 2"),
        (
            lambda: gh.Box()([{key: value[:0] for key, value in DETECTIONS[0].items()}]),
            r"returned no box for image 0\. Lower its threshold \(torchvision: box_score_thresh=",
        ),
        (lambda: gh.Box(head="yolov8")(DETECTIONS), r"head='yolov8' is for raw heads"),
        (lambda: gh.Box(head="yolov8")(SIGMOID), r"does not fit an output of queries"),
        (lambda: gh.Box(head="detr")(V8), r"head='detr' needs logits and pred_boxes"),
    ],
)
def test_what_is_not_legal_or_does_not_match(make: Callable[[], object], message: str) -> None:
    with pytest.raises(gh.TargetError, match=message):
        make()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.ones(2, 5), r"(?s)none of a detector's that are known.*\(2, 5\)"),
        ({"scores": [torch.ones(2, 5)]}, r"(?s)It is\n'scores': list\n  0: \(2, 5\).*Pass output="),
        (SimpleNamespace(x=1), r"a SimpleNamespace"),
        (V8 / 100, r"as a raw YOLO head it is \(4 \+ classes=2, N=4\) or \(N=6, 5 \+ c.*neither"),
        (V8 + 100, r"neither reading fits.*Box\(head='yolov8'\) for the former or 'yolov5'"),
        (
            torch.cat([torch.rand(1, 4, 9) * 0.5 + torch.tensor([0, 0, 9, 9])[:, None]] * 2, 1),
            "neither",
        ),
        ({"logits": torch.ones(1, 3, 2), "pred_boxes": torch.ones(1, 4, 4)}, r"pred_boxes'"),
        (
            [{**DETECTIONS[0], "labels": ["cat", "dog", "dog", "cat"]}],
            r"(?s)detections are boxes \(n, 4\).*'labels': list",
        ),
        (
            [{**DETECTIONS[0], "boxes": BOXES[:3]}],
            r"(?s)detections are boxes \(n, 4\).*'boxes': \(3, 4\)",
        ),
    ],
)
def test_an_output_of_no_known_detector(output: object, message: str) -> None:
    with pytest.raises(gh.OutputError, match="(?i)" + message):
        gh.Box()(output)


def test_both_readings_of_a_raw_head_can_fit_and_then_it_is_asked() -> None:
    # Read either way its scores are in [0, 1] and one extent above 1.
    either = torch.full((1, 6, 6), 0.5)
    either[0, 3, 3] = 9.0
    with pytest.raises(gh.OutputError, match="both readings fit"):
        gh.Box()(either)
    assert gh.Box(index=0, head="yolov8")(either).item() == 0.5
    assert gh.Box(index=0, head="yolov5")(either).item() == 0.25


# --- real detectors ---------------------------------------------------------------------------

SMALL = {"min_size": 96, "max_size": 128, "num_classes": 4}
RCNN = {
    **SMALL,
    "box_score_thresh": 0.0,
    "rpn_post_nms_top_n_test": 8,
    "box_detections_per_img": 3,
}
DENSE = {**SMALL, "score_thresh": 0.0, "topk_candidates": 20, "detections_per_img": 5}
DETECTORS: dict[str, tuple[dict[str, object], str]] = {
    "fasterrcnn_resnet50_fpn": (RCNN, "backbone.body.layer4"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (RCNN, "backbone.body.16"),
    "keypointrcnn_resnet50_fpn": ({**RCNN, "num_classes": 2}, "backbone.body.layer3"),
    "maskrcnn_resnet50_fpn": (RCNN, "backbone.body.layer3"),
    "retinanet_resnet50_fpn": (DENSE, "backbone.body.layer4"),
    "fcos_resnet50_fpn": (DENSE, "backbone.body.layer3"),
    "ssdlite320_mobilenet_v3_large": (
        {"num_classes": 4, "score_thresh": 0.0, "topk_candidates": 20},
        "backbone.features.0",
    ),
}


def detector(name: str, **options: object) -> nn.Module:
    """Drawn at random, with norms that let differences through to the scores."""
    torch.manual_seed(0)
    net = get_model(name, weights=None, weights_backbone=None, **options).eval()
    for module in net.modules():
        if type(module).__name__ in ("FrozenBatchNorm2d", "BatchNorm2d"):
            module.running_var.fill_(0.3 if "mobile" in name else 1.0)
    return net


@pytest.mark.parametrize("name", DETECTORS)
def test_torchvision_s_detectors(name: str) -> None:
    options, layer = DETECTORS[name]
    net, picture = detector(name, **options), torch.rand(3, 96, 128)
    found = net([picture])[0]
    wanted = len(found["scores"]) // 2
    box, label = found["boxes"][wanted].tolist(), int(found["labels"][wanted])
    target = gh.Box(box, label)
    result = gh.explain(net, [picture], layer, target=target)
    assert result.maps.shape == (1, 96, 128)
    assert torch.allclose(result.scores, found["scores"][wanted][None])
    agree(result.raw, raw_by_zeros(net, layer, lambda: net([picture])[0]["scores"][wanted]))
    as_batch = gh.explain(net, picture[None], layer, target=target)
    assert torch.equal(as_batch.raw, result.raw)


def test_the_sides_of_a_box_and_the_levels_of_a_pyramid_fused() -> None:
    net, picture = detector("retinanet_resnet50_fpn", **DENSE), torch.rand(3, 96, 128)
    found = net([picture])[0]
    inside = (found["boxes"][:, 0] > 0) & (found["boxes"][:, 2] < 128)  # the others are clipped
    wanted = int(inside.nonzero()[0])
    target = gh.Box(index=wanted, part="x2")
    result = gh.explain(net, [picture], "backbone.body.layer3", target=target)
    agree(
        result.raw,
        raw_by_zeros(net, "backbone.body.layer3", lambda: net([picture])[0]["boxes"][wanted, 2]),
    )
    levels = ["backbone.fpn.layer_blocks.0", "backbone.fpn.layer_blocks.1"]
    alone = [gh.explain(net, [picture], one, target=gh.Box()) for one in levels]
    fused = gh.explain(net, [picture], levels, target=gh.Box(), fuse="max")
    # A box comes from one level, and the map of the levels together is that level's.
    assert [one.diagnosis for one in alone] == [("ok",), ("zero-gradient",)]
    assert fused.diagnosis == ("ok",)
    assert torch.allclose(fused.maps, alone[0].maps, atol=1e-4)


def test_a_list_of_pictures_is_a_batch_if_they_are_alike() -> None:
    net = detector("fcos_resnet50_fpn", **DENSE)
    pictures = [torch.rand(3, 96, 128), torch.rand(3, 96, 128)]
    both = gh.explain(net, pictures, "backbone.body.layer4", target=gh.Box())
    assert both.maps.shape == (2, 96, 128)
    for number, one in enumerate(pictures):
        alone = gh.explain(net, (one,), "backbone.body.layer4", target=gh.Box())
        agree(both.raw[number], alone.raw[0])
    with pytest.raises(gh.InputError, match=r"2 shapes, \(3, 96, 128\), \(3, 96, 96\),.*one image"):
        gh.explain(net, [pictures[0], torch.rand(3, 96, 96)], target=gh.Box())


def test_a_class_of_a_detector_is_told_of_box() -> None:
    net = detector("fcos_resnet50_fpn", **{**DENSE, "detections_per_img": 1})
    x, layer = [torch.rand(3, 96, 128)], "backbone.body.layer4"
    with pytest.raises(gh.OutputError, match=r"this is a detector.*Pass target=Box\("):
        gh.explain(net, x, layer, target=1)
    surest, unsaid = gh.explain(net, x, layer, target=gh.Box()), gh.explain(net, x, layer)
    assert torch.equal(unsaid.raw, surest.raw)
    assert torch.equal(unsaid.scores, surest.scores)


def test_lists_for_networks_of_signals_are_what_they_were() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 3, padding=1)

        def forward(self, pair: list[Tensor]) -> Tensor:
            return (self.conv(pair[0]) * pair[1].mean()).mean(2)

    pair = [torch.rand(3, 2, 16), torch.rand(3, 2, 20)]
    assert gh.explain(Pair(), pair, "conv").maps.shape == (3, 16)


class YOLO(nn.Module):
    """Two levels of a dense head, decoded as the YOLOs decode theirs."""

    def __init__(self, objectness: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.SiLU(inplace=True))
        self.deep = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.SiLU(inplace=True))
        self.heads = nn.ModuleList(
            [nn.Conv2d(8, 7 + objectness, 1), nn.Conv2d(12, 7 + objectness, 1)]
        )
        self.objectness = objectness

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        near = self.stem(x)
        levels = [near, self.deep(near)]
        given = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        decoded = []
        for raw, stride in zip(given, (4, 8), strict=True):
            rows, columns = raw.shape[2:]
            y, x0 = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            center = (torch.stack([x0, y]) + raw[:, :2].sigmoid()) * stride
            extent = raw[:, 2:4].exp() * stride
            decoded.append(torch.cat([center, extent, raw[:, 4:].sigmoid()], 1).flatten(2))
        head = torch.cat(decoded, 2)
        return head.transpose(1, 2) if self.objectness else head, given


@pytest.mark.parametrize("objectness", [False, True])
def test_a_raw_yolo_head_before_suppression(objectness: bool) -> None:
    torch.manual_seed(0)
    net = YOLO(objectness).double().eval()
    x = torch.rand(2, 3, 32, 48, dtype=torch.float64)

    def rows() -> Tensor:
        head = net(x)[0]
        return head if objectness else head.transpose(1, 2)

    wanted = [70, 101]  # 96 candidates near, 24 deep; any of them can be asked for
    boxes = []
    for image, row in enumerate(wanted):
        cx, cy, w, h = rows()[image, row, :4].tolist()
        boxes.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    result = gh.explain(net, x, ["deep.0", "stem.0"], target=gh.Box(boxes, label=1, iou=0.9))
    assert result.maps.shape == (2, 32, 48)

    def scores() -> Tensor:
        picked = rows()[[0, 1], wanted]
        return picked[:, 4] * picked[:, 6] if objectness else picked[:, 5]

    assert torch.allclose(result.scores, scores().detach())
    agree(result.raw[1], raw_by_zeros(net, "stem.0", scores))
    assert not result.raw[0][0].any()  # the near candidate does not come through the deep level
    agree(result.raw[0][1], raw_by_zeros(net, "deep.0", scores)[1])


@pytest.mark.filterwarnings("ignore")  # what transformers says of itself
def test_detr_s_queries() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 12, 16],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage4"],
        ),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=6,
        num_labels=3,
    )
    net = transformers.DetrForObjectDetection(config).double().eval()
    x = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    out = net(x)
    cx, cy, w, h = (out.pred_boxes[0, 4] * torch.tensor([96, 64, 96, 64])).tolist()
    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    layer = "model.input_projection"
    target = gh.Box(box, label=2, size=(64, 96), iou=0.95)
    result = gh.explain(net, x, layer, target=target)
    # Untrained queries give nearly one box, so by hand: which of them is it?
    chance = out.logits[0].softmax(-1)[:, 2]
    found = (out.logits[0, :, 2] - result.scores).abs().argmin()
    assert chance[found] >= chance[4]
    assert int(out.logits.shape[-1]) == 4
    agree(result.raw, raw_by_zeros(net, layer, lambda: net(x).logits[:, found, 2]))
    assert "position" not in gh.explain(net, x, target=gh.Box()).layers[0]
    with pytest.raises(gh.TargetError, match=r"class 3 is out of range: .* classes 0 to 2"):
        gh.explain(net, x, layer, target=gh.Box(label=3))


def test_the_padding_of_a_detectors_canvas_is_cut_off() -> None:
    torch.manual_seed(0)
    net = get_model(
        "fcos_resnet50_fpn",
        weights=None,
        weights_backbone=None,
        num_classes=4,
        score_thresh=0.0,
        min_size=96,
        max_size=128,
    ).eval()
    picture = torch.rand(3, 96, 100)  # padded to 96 x 128, so 6 x 8 cells of 16 pixels
    result = gh.explain(net, [picture], "backbone.body.layer3", target=gh.Box())
    assert result.raw.shape == (1, 6, 8)
    whole = nn.functional.interpolate(
        result.raw.relu()[:, None], (96, 128), mode="bilinear", align_corners=False
    )
    seen = whole[0, 0, :, :100]
    expected = (seen - seen.min()) / (seen.max() - seen.min())
    assert torch.allclose(result.maps[0], expected, atol=1e-5)
