"""Who reads a layer: the user, the rules, or the network; each reading against an oracle."""

from __future__ import annotations

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

import gradcam_hooks as gh
from tests.support.cells import own_cells


class Made(nn.Module):
    """A network of named parts and a forward written beside them."""

    def __init__(self, forward, **parts: nn.Module) -> None:
        super().__init__()
        self._run = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._run(self, *inputs)


def made(forward, **parts: nn.Module) -> nn.Module:
    return Made(forward, **parts).double().eval()


def picture(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def truth(net: nn.Module, layer: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Activation and gradient of class 1, zeros added inside the layer's own forward."""
    module = net.get_submodule(layer)
    plain, kept = module.forward, []

    def forward(*args: object) -> Tensor:
        output = plain(*args)
        kept.append((output.detach(), torch.zeros_like(output, requires_grad=True)))
        return output + kept[-1][1]

    module.forward = forward  # type: ignore[method-assign]
    try:
        score = net(*inputs)[:, 1].sum()
    finally:
        del module.forward
    activation, zeros = kept[0]
    return activation, torch.autograd.grad(score, zeros)[0]


def cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM of ``(batch, channels, *space)``."""
    axes = tuple(range(2, activation.ndim))
    return (gradient.mean(axes, keepdim=True) * activation).sum(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def points() -> nn.Module:
    return made(
        lambda m, x: m.fc(m.c2(m.c1(x.mT).relu()).amax(2)),
        c1=nn.Conv1d(3, 16, 1), c2=nn.Conv1d(16, 32, 1), fc=nn.Linear(32, 4),
    )  # fmt: skip


def last_channels() -> nn.Module:
    return made(
        lambda m, x: m.fc(m.c2(m.c1(x.permute(0, 3, 1, 2)).relu()).mean((2, 3))),
        c1=nn.Conv2d(4, 8, 3, padding=1), c2=nn.Conv2d(8, 12, 3, 2, 1), fc=nn.Linear(12, 4),
    )  # fmt: skip


def frames() -> nn.Module:
    def forward(m, x):
        seen = m.c2(x.flatten(0, 1)).relu().mean((2, 3)).view(*x.shape[:2], -1)
        return m.fc(m.rnn(seen)[0][:, -1])

    return made(
        forward,
        c2=nn.Conv2d(3, 8, 3, 2, 1),
        rnn=nn.LSTM(8, 8, batch_first=True),
        fc=nn.Linear(8, 4),
    )


def spectrogram() -> nn.Module:
    return made(
        lambda m, x: m.fc(m.c2(x[:, None]).relu().mean((2, 3))),
        c2=nn.Conv2d(1, 8, 3, padding=1), fc=nn.Linear(8, 4),
    )  # fmt: skip


def series() -> nn.Module:
    return made(lambda m, x: m.fc(m.c2(x).tanh().mean(1)), c2=nn.Linear(6, 24), fc=nn.Linear(24, 4))


def head_first() -> nn.Module:
    return made(
        lambda m, x: m.head(m.c2(m.c1(x).relu()).relu()).mean((2, 3, 4)),
        head=nn.Conv3d(16, 4, 1), c1=nn.Conv3d(1, 16, 3, padding=1), c2=nn.Conv3d(16, 16, 3, 2, 1),
    )  # fmt: skip


KINDS = {
    "points": (points, (2, 100, 3), lambda t: t, "b c=32 t=100", (100,)),
    "channels last": (last_channels, (2, 24, 32, 4), lambda t: t, "b c=12 h=12 w=16", (24, 32)),
    "a spectrogram": (spectrogram, (2, 40, 60), lambda t: t, "b c=8 h=40 w=60", (40, 60)),
    "a series": (series, (2, 60, 6), lambda t: t.mT, "b t=60 c=24", (60,)),
    "head first": (
        head_first, (1, 1, 16, 24, 20), lambda t: t, "b c=16 d=8 h=12 w=10", (16, 24, 20),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_other_axes_are_read_with_nothing_said(kind: str) -> None:
    build, shape, first, layout, size = KINDS[kind]
    net, x = build(), picture(*shape)
    result = gh.explain(net, x, "c2", target=1)
    assert result.layouts == (layout,)
    activation, gradient = truth(net, "c2", x)
    expected = cam(first(activation), first(gradient))
    assert torch.allclose(result.raw, expected, atol=1e-9)
    assert result.maps.shape == (len(x), *size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["scorecam", "smoothgradcam++", "rise", "ablationcam"])
def test_methods_that_disturb_do_so_in_the_inputs_own_axes(kind: str, method: str) -> None:
    """The same network behind a turn of its input, which it is given turned, answers alike."""
    build, shape, _, _, _ = KINDS[kind]
    net, x = build(), picture(*shape)
    few = {"rise": {"masks": 6}, "smoothgradcam++": {"samples": 3, "std": 0.1}}.get(method, {})
    axes = "b t c" if kind == "a series" else None  # no convolution tells, and RISE asks no layer
    own = gh.explain(net, x, "c2", target=1, method=method, axes=axes, **few)
    assert own.image is not None
    assert own.image.shape[2:] == own.maps.shape[1:]
    if kind not in ("points", "channels last", "a series"):
        return
    turned = made(lambda m, y: m.net(y.movedim(1, -1)), net=net)
    back = x.movedim(-1, 1).contiguous()
    words = "b c h w" if kind == "channels last" else "b c t"
    other = gh.explain(turned, back, "net.c2", target=1, method=method, axes=words, **few)
    scale = float(own.raw.abs().max())
    assert scale > 0
    assert torch.allclose(own.raw, other.raw, atol=1e-6 * scale)


def test_frames_in_the_batch_are_maps_of_their_own() -> None:
    net, x = frames(), picture(2, 5, 3, 16, 24)
    result = gh.explain(net, x, "c2", target=1)
    assert result.layouts == ("(b t=5) c=8 h=8 w=12",)
    assert result.maps.shape == (2, 5, 16, 24)
    activation, gradient = truth(net, "c2", x)
    assert torch.allclose(result.raw.flatten(0, 1), cam(activation, gradient), atol=1e-9)
    said = gh.explain(net, x, "c2", target=1, axes="b t c h w", layout="(b t) c h w")
    assert torch.equal(said.raw, result.raw)
    assert (result.layouts[0].by, said.layouts[0].by) == ("rules", "you")


def test_samples_become_frequencies_and_the_map_is_over_time() -> None:
    def forward(m, x):
        window = torch.hann_window(64, dtype=x.dtype)
        spectrum = torch.stft(x, 64, 32, window=window, return_complex=True).abs()
        return m.fc(m.c(spectrum[:, None]).relu().mean((2, 3)))

    net = made(forward, c=nn.Conv2d(1, 8, 3, padding=1), fc=nn.Linear(8, 4))
    result = gh.explain(net, picture(2, 1600), "c", target=1)
    assert result.layouts == ("b c1=8 c2=33 t=51",)
    activation, gradient = truth(net, "c", picture(2, 1600))
    expected = cam(activation.flatten(1, 2), gradient.flatten(1, 2))
    assert torch.allclose(result.raw, expected, atol=1e-9)


PRE = {
    "crop": (v2.CenterCrop(32), ((8 / 48, 40 / 48), (16 / 64, 48 / 64))),
    "resize": (v2.Resize((64, 64), antialias=False), ((0, 1), (0, 1))),
    "flip": (nn.Identity(), ((0, 1), (1, 0))),
    "normalise": (v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), ((0, 1), (0, 1))),
}


@pytest.mark.parametrize("name", PRE)
def test_a_map_lies_where_the_network_saw_it(name: str) -> None:
    before, spans = PRE[name]

    def forward(m, x):
        seen = m.pre(x.flip(-1) if name == "flip" else x)
        return m.fc(m.c(seen).relu().mean((2, 3)))

    net = made(forward, pre=before, c=nn.Conv2d(3, 8, 4, 4), fc=nn.Linear(8, 4))
    x = picture(1, 3, 48, 64)
    result = gh.explain(net, x, "c", target=1)
    raw = cam(*truth(net, "c", x))
    assert torch.allclose(result.raw, raw, atol=1e-9)
    expected = torch.zeros(48, 64, dtype=torch.float64)
    (top, bottom), (left, right) = spans
    rows = slice(round(top * 48), round(bottom * 48))
    columns = slice(round(min(left, right) * 64), round(max(left, right) * 64))
    size = (rows.stop - rows.start, columns.stop - columns.start)
    inner = functional.interpolate(raw.relu()[:, None], size, mode="bilinear")[0, 0]
    expected[rows, columns] = inner.flip(1) if right < left else inner
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert torch.allclose(result.maps[0].double(), expected, atol=1e-5)


def test_padding_in_the_model_is_refused() -> None:
    net = made(
        lambda m, x: m.fc(m.c(functional.pad(x, [16] * 4)).relu().mean((2, 3))),
        c=nn.Conv2d(3, 8, 4, 4), fc=nn.Linear(8, 4),
    )  # fmt: skip
    with pytest.raises(
        gh.LayoutError, match=r"sees its input padded along 'h'.*Pad the input your"
    ):
        gh.explain(net, picture(1, 3, 48, 64), "c", target=1)


def test_the_map_lies_on_the_input_that_the_layer_saw() -> None:
    def forward(m, left, right):
        one, two = (m.trunk(side).amax((2, 3)) for side in (left, right))
        return m.fc(torch.cat([one, two], 1))

    net = made(
        forward, trunk=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), fc=nn.Linear(16, 4)
    )
    small, large = picture(1, 3, 16, 16), picture(1, 3, 48, 64)
    for call, image in enumerate((small, large)):
        result = gh.GradCAM(net, "trunk", call=call)(small, large, target=1)
        assert result.maps.shape == (1, *image.shape[2:])
        assert torch.equal(result.image, image)
    with pytest.raises(gh.LayerError, match="inputs of several sizes: 16x16; 48x64"):
        gh.GradCAM(net, "trunk", call="all")(small, large, target=1)


def tokens(order: str, behind: int = 0) -> nn.Module:
    """A vision transformer of one's own: patches by a linear layer, in rows or in columns."""

    def forward(m, x):
        patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3)
        if order == "columns":
            patches = patches.transpose(1, 2)
        if order == "shuffled":
            found = patches.flatten(1, 2)
            patches = found[:, torch.randperm(found.shape[1])][:, None]
        seen = m.embed(patches.flatten(1, 2))
        seen = torch.cat([seen, m.more.weight.expand(len(x), -1, -1)], 1)
        return m.fc(m.body(seen).mean(1))

    parts = {
        "embed": nn.Linear(192, 24),
        "more": nn.Embedding(behind, 24),
        "body": nn.TransformerEncoderLayer(24, 3, 48, batch_first=True),
        "fc": nn.Linear(24, 4),
    }
    return made(forward, **parts)


@pytest.mark.parametrize(
    ("order", "behind", "layout"),
    [
        ("rows", 0, "b (h=4 w=6) c=24"),
        ("rows", 4, "b (h=4 w=6)+4 c=24"),
        ("columns", 0, "b (w=6 h=4) c=24"),
    ],
)
def test_tokens_of_ones_own_are_read_in_their_order(order: str, behind: int, layout: str) -> None:
    net, x = tokens(order, behind), picture(2, 3, 32, 48)
    result = gh.explain(net, x, "body", target=1)
    assert result.layouts == (layout,)
    assert own_cells(net, x, result) == 1
    wrong = "b (h=4 w=6) c" if order == "columns" else "b (w=6 h=4) c"
    wrong = "b 4+(h w) c" if behind else wrong
    with pytest.raises(gh.LayoutError, match=r"tells another order: layout='b "):
        gh.explain(net, x, "body", target=1, layout=wrong)


def test_tokens_that_the_network_shuffles_are_refused() -> None:
    with pytest.raises(gh.LayoutError, match="The network was asked and does not tell"):
        gh.explain(tokens("shuffled"), picture(2, 3, 32, 48), "body", target=1)


def test_patches_that_lead_their_frames_are_read() -> None:
    config = transformers.TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=3, intermediate_size=32, num_labels=4,
    )  # fmt: skip
    net = transformers.TimesformerForVideoClassification(config).eval().double()
    x = picture(1, 4, 3, 32, 32)
    result = gh.explain(net, x, "timesformer.encoder.layer.0", target=1)
    assert result.layouts == ("b 1+(h=4 w=4 t=4) c=24",)
    assert own_cells(net, x, result, "b t c h w") == 1
    for said in ("tokens:4x4x4", result.layouts[0]):
        again = gh.explain(net, x, "timesformer.encoder.layer.0", target=1, layout=said)
        assert torch.allclose(again.raw, result.raw, atol=1e-12)


def test_windows_are_put_together() -> None:
    net = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(64, 96), window_size=4, embed_dim=24,
        depths=(2, 2), num_heads=(2, 4), num_classes=5,
    ).eval().double()  # fmt: skip
    x = picture(1, 3, 64, 96)
    result = gh.explain(net, x, "layers.0.blocks.0.attn.qkv", target=1)
    assert result.layouts == ("(b h1=4 w1=6) (h2=4 w2=4) c=72",)
    assert own_cells(net, x, result) == 1


def test_a_plain_reading_costs_no_pass() -> None:
    runs: list[int] = []
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    result = gh.explain(net, torch.rand(2, 3, 16, 20), "1")
    assert len(runs) == 1
    assert (result.layouts[0].by, result.layouts[0].passes) == ("rules", 0)


def test_the_network_is_asked_once_and_left_as_it_was() -> None:
    net, x = tokens("columns"), picture(2, 3, 32, 48)
    runs: list[int] = []
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    state = torch.get_rng_state()
    first = gh.explain(net, x, "body", target=1)
    assert len(runs) == 1 + first.layouts[0].passes + 2 * 3  # and for each axis its two edges
    count = len(runs)
    second = gh.explain(net, x, "body", target=1)
    assert len(runs) == count + 1
    assert torch.equal(first.raw, second.raw)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(one._forward_hooks for one in net.modules())


def test_the_network_can_be_asked_where_the_rules_would_do() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(2, 3, 32, 40)
    plain, asked = (gh.explain(net, x, "1", layout=one) for one in (None, "probe"))
    assert plain.layouts == asked.layouts
    assert (plain.layouts[0].by, asked.layouts[0].by) == ("rules", "probe")
    assert asked.layouts[0].passes > 10
    assert torch.equal(plain.raw, asked.raw)


@pytest.mark.parametrize("stage", [1, 4])
def test_heads_by_tokens_are_no_height_and_width(stage: int) -> None:
    net = timm.create_model("coat_lite_tiny", img_size=96, num_classes=3).eval()
    with pytest.raises(gh.LayoutError, match="asked and does not tell"):
        # (batch, 8 heads, tokens, channels of each), out of convolutions
        gh.explain(net, torch.rand(1, 3, 96, 96), f"crpe{stage}", call=1)
