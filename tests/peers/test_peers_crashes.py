"""The crashes that users of today's libraries report most: each shown, and what comes here instead.

Where an error is the right answer, it is ours, and it says the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from captum.attr import visualization as captum_drawing
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCAM

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.oracle import agree, oracle, raw_by_zeros
from tests.support.oracle import grad_cam as weighed
from tests.support.peers import new_torchcam

TARGET = 1


def grad_cam(model: nn.Module, layer: str, x: Tensor) -> object:
    with PeerGradCAM(model, [model.get_submodule(layer)]) as cam:
        return cam(x, [ClassifierOutputTarget(TARGET)] * len(x))


def torchcam(model: nn.Module, layer: str, x: Tensor) -> object:
    with TorchCAM(model, layer) as extractor:
        scores = model(x)
        return extractor([TARGET] * len(x), scores)


def captum(model: nn.Module, layer: str, x: Tensor) -> object:
    return LayerGradCam(model, model.get_submodule(layer)).attribute(x, target=TARGET)


PEERS = {"grad-cam": grad_cam, "torchcam": torchcam, "captum": captum}

NO_GRAPH = {
    "grad-cam": "does not require grad",
    "torchcam": "not connected to every target layer",
    "captum": "does not require grad",
}


@pytest.mark.parametrize("peer", ["grad-cam", pytest.param("torchcam", marks=new_torchcam)])
def test_a_frozen_model(peer: str) -> None:
    model = gap_linear().requires_grad_(requires_grad=False)
    with pytest.raises(RuntimeError, match=NO_GRAPH[peer]):
        PEERS[peer](model, "1", images())
    expected = gh.explain(gap_linear(), images(), "1", target=TARGET).raw
    assert torch.equal(gh.explain(model, images(), "1", target=TARGET).raw, expected)


@pytest.mark.parametrize(
    ("mode", "peer"),
    [
        (torch.no_grad, "grad-cam"),
        pytest.param(torch.no_grad, "torchcam", marks=new_torchcam),
        (torch.inference_mode, "grad-cam"),
        pytest.param(torch.inference_mode, "torchcam", marks=new_torchcam),
        (torch.inference_mode, "captum"),
    ],
)
def test_gradients_off_around_the_call(
    mode: Callable[[], AbstractContextManager[object]], peer: str
) -> None:
    model = gap_linear()
    with mode(), pytest.raises(RuntimeError, match=NO_GRAPH[peer]):
        PEERS[peer](model, "1", images())
    with mode():
        result = gh.explain(model, images(), "1", target=TARGET)
    agree(result.raw, raw_by_zeros(model, "1", lambda: model(images())[:, TARGET]))


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16", "autocast"])
def test_half_precision(autocast: bool) -> None:
    dtype = torch.float32 if autocast else torch.bfloat16
    model, x = gap_linear().to(dtype), images().to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        with pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
            grad_cam(model, "1", x)
        result = gh.explain(model, x, "1", target=TARGET)
    assert result.maps.dtype == result.raw.dtype == torch.float32
    exact = gh.explain(gap_linear(), images(), "1", target=TARGET)
    assert torch.allclose(result.maps, exact.maps, atol=0.05)


class Answering(nn.Module):
    """The network of `gap_linear`, and its logits in a container."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = gap_linear()
        self.kind = kind

    def forward(self, x: Tensor) -> object:
        logits = self.net(x)
        if self.kind == "dict":
            return {"logits": logits, "loss": logits.sum()}
        from transformers.modeling_outputs import ImageClassifierOutput

        return ImageClassifierOutput(logits=logits)


@pytest.mark.parametrize("kind", ["dict", "ModelOutput"])
@pytest.mark.parametrize(
    ("peer", "error", "message"),
    [
        ("grad-cam", AttributeError, "'str' object has no attribute 'shape'"),
        pytest.param("torchcam", TypeError, "scores must be a tensor", marks=new_torchcam),
        ("captum", AttributeError, "has no attribute 'shape'"),
    ],
    ids=PEERS,
)
def test_outputs_that_are_no_tensor(
    kind: str, peer: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PEERS[peer](Answering(kind), "net.1", images())
    expected = gh.explain(gap_linear(), images(), "1", target=TARGET)
    result = gh.explain(Answering(kind), images(), "net.1", target=TARGET)
    assert torch.equal(result.raw, expected.raw)


class Scaled(nn.Module):
    """Two inputs, the second by position or by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.net = gap_linear()

    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        logits: Tensor = self.net(x * factor)
        return logits


def test_several_inputs() -> None:
    model, x, factor = Scaled(), images(), torch.tensor(2.0)
    with PeerGradCAM(model, [model.net[1]]) as cam:
        for given in (x, (x, factor)):
            with pytest.raises((TypeError, AttributeError), match=r"'factor'|'tuple' object"):
                cam(given, [ClassifierOutputTarget(TARGET)] * 2)
        with pytest.raises(TypeError, match="unexpected keyword argument 'factor'"):
            cam(x, [ClassifierOutputTarget(TARGET)] * 2, factor=factor)

    right = raw_by_zeros(model, "net.1", lambda: model(x, factor)[:, TARGET])
    explainer = gh.GradCAM(model, "net.1")
    for result in (
        explainer(x, factor, target=TARGET),
        explainer(x, factor=factor, target=TARGET),
        explainer(factor=factor, x=x, target=TARGET),
    ):
        agree(result.raw, right)


@pytest.mark.filterwarnings("ignore")  # what torch says of compiling
@pytest.mark.parametrize(
    ("peer", "error", "message"),
    [
        ("grad-cam", AttributeError, "'NoneType' object has no attribute 'shape'"),
        ("torchcam", AssertionError, "need to be forwarded"),
        ("captum", AssertionError, "did not obtain any outputs"),
    ],
    ids=PEERS,
)
def test_hooks_that_come_after_a_compiled_call(
    peer: str, error: type[Exception], message: str
) -> None:
    model = torch.compile(gap_linear(), backend="eager")
    model(images())
    with pytest.raises(error, match=message):
        PEERS[peer](model, "_orig_mod.1", images())
    result = gh.explain(model, images(), "1", target=TARGET)
    plain = gap_linear()
    agree(result.raw, raw_by_zeros(plain, "1", lambda: plain(images())[:, TARGET]))


def test_a_signal() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 8, 9), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)
    ).double()
    x = torch.randn(2, 2, 60, dtype=torch.float64)
    with pytest.raises(ValueError, match="Only 2D or 3D images are supported"):
        grad_cam(model, "1", x)
    result = gh.explain(model, x, "1", target=TARGET)
    assert result.maps.shape == (2, 60)
    agree(result.raw, weighed(*oracle(model, "1", lambda out: out[:, TARGET], x)))


def test_a_layer_without_space() -> None:
    model, x = gap_linear(), images()
    # (What was an AxisError in its earlier releases.)
    with pytest.raises(ValueError, match="Invalid grads shape"):
        grad_cam(model, "3", x)
    assert captum(model, "3", x).shape == (2, 1)  # a "map" of one number, without complaint

    with pytest.raises(gh.LayoutError, match=r"layer '3' gives \(2, 6\) for an input of space 8x8"):
        gh.explain(model, x, "3", target=TARGET)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuDNN needs CUDA")
def test_a_recurrent_head_on_cuda() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)
            self.lstm = nn.LSTM(48, 10, batch_first=True)
            self.head = nn.Linear(10, 4)

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.lstm(self.conv(x).permute(0, 3, 1, 2).flatten(2))
            logits: Tensor = self.head(states[:, -1])
            return logits

    torch.manual_seed(0)
    model, x = Recurrent().eval(), images().float()
    expected = gh.explain(model, x, "conv", target=TARGET).raw
    model.cuda()
    with pytest.raises(RuntimeError, match="cudnn RNN backward can only be called in training"):
        grad_cam(model, "conv", x.cuda())
    result = gh.explain(model, x.cuda(), "conv", target=TARGET)
    assert torch.allclose(result.raw.cpu(), expected, atol=1e-5)


def test_drawing_a_blank_map() -> None:
    with pytest.raises(AssertionError, match="Cannot normalize by scale factor = 0"):
        captum_drawing.visualize_image_attr(np.zeros((8, 8, 1)), sign="positive", use_pyplot=False)

    model = gap_linear()
    with torch.no_grad():
        model[4].weight[TARGET] = -model[4].weight[TARGET].abs()
    result = gh.explain(model, images(1), "1", target=TARGET)
    assert result.diagnosis == ("all-negative",)
    ground = np.full((8, 8, 3), 0.4, dtype=np.float32)
    drawn = np.asarray(result.overlay(ground, alpha=0.5, colormap="inferno"))
    assert drawn.shape == (8, 8, 3)
    assert (drawn == drawn[0, 0]).all()
