"""The methods for transformers: by hand, and by loops on networks that were written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.attention.capture import catching
from gradcam_hooks.methods.legrad import sensitivity
from gradcam_hooks.methods.transformers import loosened, relevance, rolled_out
from tests.support.vits import (
    Run,
    clip,
    pictures,
    siglip,
    timm_vit,
    torchvision_vit,
    transformers_vit,
    written_out,
)

NAMES = ("attentionrollout", "gradientrollout", "legrad", "gradeclip")
NETS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": torchvision_vit,
    "timm": timm_vit,
    "timm in the open": lambda: timm_vit(False),
    "timm, pooled": lambda: timm_vit(class_token=False, global_pool="avg"),
    "timm, pooled beside a class token": lambda: timm_vit(global_pool="avg"),
    "transformers, sdpa": lambda: transformers_vit(),
    "transformers, eager": lambda: transformers_vit(implementation="eager"),
}

# Two layers of two heads and three tokens, the first the class token.
FIRST = torch.tensor(
    [
        [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]],
            [[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]],
        ]
    ]
)
SECOND = torch.tensor(
    [
        [
            [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]],
            [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
        ]
    ]
)


def test_rollout_by_hand() -> None:
    # Heads meaned: rows (1/2, 1/4, 1/4), (0, 1, 0), (1/2, 1/4, 1/4); with the identity halved:
    # (3/4, 1/8, 1/8), (0, 1, 0), (1/4, 1/8, 5/8).
    # Second: (1/2, 1/4, 1/4), (0, 1/2, 1/2), (1/2, 0, 1/2) become
    # (3/4, 1/8, 1/8), (0, 3/4, 1/4), (1/4, 0, 3/4).
    # The class token: 3/4 (3/4, 1/8, 1/8) + 1/8 (0, 1, 0) + 1/8 (1/4, 1/8, 5/8)
    #   = (18/32 + 1/32, 3/32 + 4/32 + 1/64, 3/32 + 5/64) = (38/64, 15/64, 11/64).
    got = rolled_out([FIRST, SECOND])
    assert torch.allclose(got[0, 0], torch.tensor([38.0, 15.0, 11.0]) / 64)
    assert torch.allclose(got.sum(-1), torch.ones(1, 3))


def test_rollout_of_the_largest_head_without_the_smallest_weights() -> None:
    # Largest of the heads: (1, 1/2, 1/2), (0, 1, 0), (1/2, 1/2, 1/2). A third of nine weights
    # taken for 0: the two zeros, and one of the halves, which count alike.
    got = rolled_out([FIRST], head_fusion="max")
    assert torch.allclose(got[0, 0], torch.tensor([2.0, 0.5, 0.5]) / 3)
    layer = torch.tensor([[[[0.1, 0.9], [0.2, 0.8]]]])
    # Half of the weights, 0.1 and 0.2, are dropped: rows (1, 0.9) / 1.9 and (0, 1).
    halved = rolled_out([layer], discard_ratio=0.5)
    assert torch.allclose(halved[0], torch.tensor([[1 / 1.9, 0.9 / 1.9], [0.0, 1.0]]))
    least = rolled_out([FIRST], head_fusion="min")  # (0, 0, 0) leaves the identity alone
    assert torch.allclose(least[0, 0], torch.tensor([1.0, 0.0, 0.0]))


def test_relevance_by_hand() -> None:
    # Gradients of 1 in head one and -1 in head two: half of head one counts, head two nothing.
    ones = torch.ones(1, 1, 3, 3)
    gradient = torch.cat([ones, -ones], 1)
    # R1 = I + half of head one: rows (3/2, 0, 0), (0, 3/2, 0), (1/4, 1/4, 1).
    # The class token of the second layer: half of (1/2, 1/2, 0) is (1/4, 1/4, 0), so its row is
    # (3/2, 0, 0) + 1/4 (3/2, 0, 0) + 1/4 (0, 3/2, 0) = (15/8, 3/8, 0).
    got = relevance([FIRST, SECOND], [gradient, gradient])
    assert torch.allclose(got[0, 0], torch.tensor([15 / 8, 3 / 8, 0.0]))


def test_sensitivity_by_hand() -> None:
    # One layer: relu of (1, -1), (3, 2) and (-1, 0), (0, 4): columns 1 + 3 + 0 + 0, 0 + 2 + 0 + 4,
    # over 2 heads and 2 queries (1, 1.5). The other: (2, 0) four times: (2, 0). Their mean.
    first = torch.tensor([[[[1.0, -1.0], [3.0, 2.0]], [[-1.0, 0.0], [0.0, 4.0]]]])
    second = torch.tensor([2.0, 0.0]).expand(1, 2, 2, 2)
    assert sensitivity([first, second]).tolist() == [[1.5, 0.75]]


def test_loosened_by_hand() -> None:
    # Query (3, 4) over two heads; keys (3, 4), (-3, -4) and (4, -3): cosines 1, -1, 0, which scale
    # to 1, 0, 1/2. Gradient (1, 2) on values (1, 1), (5, 5), (2, -2): 3, 15, -2.
    query = torch.tensor([[[[3.0]], [[4.0]]]])
    key = torch.tensor([[[[3.0], [-3.0], [4.0]], [[4.0], [-4.0], [-3.0]]]])
    value = torch.tensor([[[[1.0], [5.0], [2.0]], [[1.0], [5.0], [-2.0]]]])
    gradient = torch.tensor([[[[1.0]], [[2.0]]]])
    assert torch.allclose(loosened(query, key, value, gradient), torch.tensor([[[3.0, 0.0, -1.0]]]))
    # Keys that are all alike weigh nothing.
    same = loosened(query, key[:, :, :1].expand(1, 2, 3, 1), value, gradient)
    assert same.tolist() == [[[3.0, 15.0, -2.0]]]


def by_loops(name: str, run: Run, head: Callable[[Tensor], Tensor], score: Score) -> Tensor:
    """The map over all tokens from the paper's equation, ``(batch, tokens)``."""
    batch, _, count, _ = run.weights[0].shape
    y = score(run.logits)
    result = torch.zeros(batch, count, dtype=torch.float64)
    for b in range(batch):
        if name == "legrad":
            rows = [mean_gradient(run, head, score, b)]
        elif name == "gradeclip":
            rows = [nearness(run, y, b, q) for q in score.read]
        else:
            total = rolled(name, run, y, b)
            rows = [total[q] for q in score.read]
        result[b] = torch.tensor(rows, dtype=torch.float64).mean(0)
    return result


def gradient(y: Tensor, at: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(y.sum(), at, retain_graph=True)
    return found


def mean_gradient(run: Run, head: Callable[[Tensor], Tensor], score: Score, b: int) -> list[float]:
    """LeGrad for one image, every token's mean handed to the head as the tokens."""
    heads, count = run.weights[0].shape[1:3]
    result = [0.0] * count
    for tokens, weights in zip(run.tokens, run.weights, strict=True):
        mean = sum(tokens[:, i] for i in range(count)) / count
        s = score(head(torch.stack([mean] * count, 1)))
        g = gradient(s, weights)[b].tolist()
        for k in range(count):
            for h in range(heads):
                for q in range(count):
                    result[k] += max(g[h][q][k], 0.0) / (heads * count * len(run.weights))
    return result


def nearness(run: Run, y: Tensor, b: int, q: int) -> list[float]:
    """Grad-ECLIP for one query of one image; the patches are the last four tokens."""
    heads, count = run.weights[-1].shape[1:3]
    g, query, key, value = (
        one.detach()[b] for one in (gradient(y, run.output), run.query, run.key, run.value)
    )
    own, patches = query[:, q].flatten(), range(count - 4, count)
    keys = {k: key[:, k].flatten() for k in patches}
    cosine = {k: float(own @ keys[k] / own.norm() / keys[k].norm()) for k in patches}
    low, high = min(cosine.values()), max(cosine.values())
    result = [0.0] * count
    for k in patches:
        for h in range(heads):
            result[k] += float(g[h, q] @ value[h, k]) * (cosine[k] - low) / (high - low)
    return result


def rolled(name: str, run: Run, y: Tensor, b: int) -> list[list[float]]:
    """Either rollout for one image: what each token holds of each."""
    heads, count = run.weights[0].shape[1:3]
    total = [[float(i == j) for j in range(count)] for i in range(count)]
    for layer in run.weights:
        a = layer.detach()[b].tolist()
        if name == "gradientrollout":
            g = gradient(y, layer)[b].tolist()
        new = [[0.0] * count for _ in range(count)]
        for i in range(count):
            step = [0.0] * count
            for j in range(count):
                for h in range(heads):
                    plain = name == "attentionrollout"
                    part = a[h][i][j] if plain else max(a[h][i][j] * g[h][i][j], 0.0)
                    step[j] += part / heads
            for j in range(count):
                new[i][j] = total[i][j] + sum(step[m] * total[m][j] for m in range(count))
                new[i][j] /= 2 if name == "attentionrollout" else 1
        total = new
    return total


class Score:
    """One class of each image, and the tokens at which the head reads it."""

    def __init__(self, classes: Sequence[int], read: Sequence[int]) -> None:
        self.classes, self.read = list(classes), list(read)

    def __call__(self, logits: Tensor) -> Tensor:
        return logits[range(len(self.classes)), self.classes]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", NETS)
def test_by_loops_on_networks_written_out(kind: str, name: str) -> None:
    net, images = NETS[kind](), pictures()
    run, head = written_out(net, images)
    output = net(images)
    logits = getattr(output, "logits", output)
    assert torch.allclose(run.logits, logits, atol=1e-10)
    count = run.weights[0].shape[-1]
    read = range(count - 4, count) if "pooled" in kind else [0]
    result = gh.explainer(name, net)(images, target=gh.TopK(2))
    for column in range(2):
        score = Score(result.target[:, column].tolist(), read)
        expected = by_loops(name, run, head, score)[:, count - 4 :].view(2, 2, 2)
        assert expected.abs().max() > 1e-6
        # transformers' own attention takes its softmax in float32, whatever the network is in.
        rough = 1e-4 if "eager" in kind else 1e-8
        error = (result.raw[:, column] - expected).abs().max() / expected.abs().max()
        assert error < rough


@pytest.mark.parametrize("name", NAMES)
def test_fused_and_open_attention_give_one_map(name: str) -> None:
    images = pictures()
    pairs = [
        (1e-9, timm_vit(qk_norm=True, reg_tokens=2), timm_vit(False, qk_norm=True, reg_tokens=2))
    ]
    pairs += [
        (1e-3, transformers_vit(kind), transformers_vit(kind, "eager"))
        for kind in ("DeiT", "Dinov2", "Dinov2WithRegisters", "Beit")
    ]
    for rough, fused, plain in pairs:
        a, b = (gh.explainer(name, net)(images).raw.double() for net in (fused, plain))
        assert a.shape == (2, 2, 2)
        assert a.abs().max() > 0
        assert (a - b).abs().max() < rough * a.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_clip_is_explained_on_the_side_of_its_image(name: str) -> None:
    text = torch.tensor([[0, 5, 7, 1, 1], [0, 9, 1, 1, 1], [0, 2, 3, 4, 1]])
    maps = []
    for implementation in ("sdpa", "eager"):
        explainer = gh.explainer(name, clip(implementation), output="logits_per_image")
        result = explainer(pixel_values=pictures(), input_ids=text, target=gh.AllClasses())
        assert result.raw.shape == (2, 3, 2, 2)
        maps.append(result.raw)
    assert (maps[0] - maps[1]).abs().max() < 1e-3 * maps[0].abs().max()
    assert gh.METHODS[name].class_specific is not torch.equal(maps[0][:, 0], maps[0][:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_pooling_head_reads_the_tokens_by_its_own_attention(name: str) -> None:
    net, images = siglip(), pictures()
    result = gh.explainer(name, net, output="pooler_output")(images, target=1)
    expected = pooled_by_hand(name, net, images)
    assert (result.raw - expected).abs().max() < 1e-8 * expected.abs().max()


def pooled_by_hand(name: str, net: nn.Module, images: Tensor) -> Tensor:
    """The maps of a network that ends in a pooling head, from its head's own modules."""
    head = net.head.attention
    weights, tokens = [], []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        own = module.self_attn
        q, k = (part(module.layer_norm1(x)) for part in (own.q_proj, own.k_proj))
        q, k = (one.unflatten(-1, (2, 4)).transpose(1, 2) for one in (q, k))
        weights.append((q @ k.mT / 2).softmax(-1).mean(1))

    handles = [layer.register_forward_pre_hook(keep) for layer in net.encoder.layers]
    handles += [
        layer.register_forward_hook(lambda module, args, out: tokens.append(out))
        for layer in net.encoder.layers
    ]
    net(images)
    for handle in handles:
        handle.remove()

    def read(x: Tensor) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """The pooling head written out: its score, its weights, query, key and value, output."""
        probe = net.head.probe.expand(len(x), -1, -1)
        rows = (head.in_proj_weight.chunk(3), head.in_proj_bias.chunk(3))
        parts = zip((probe, x, x), *rows, strict=True)
        split = [(a @ w.T + b).unflatten(-1, (2, 4)).transpose(1, 2) for a, w, b in parts]
        seen = (split[0] @ split[1].mT / 2).softmax(-1)
        output = seen @ split[2]
        pooled = head.out_proj(output.transpose(1, 2).flatten(2))
        pooled = pooled + net.head.mlp(net.head.layernorm(pooled))
        return pooled[:, 0, 1], seen, split, output

    last = net.post_layernorm
    if name == "legrad":
        maps = []
        for one in tokens:
            score, seen, _, _ = read(last(one))
            maps.append(gradient(score, seen).relu().mean((1, 2)))
        return torch.stack(maps).mean(0).view(2, 2, 2)
    score, seen, (query, key, value), output = read(last(tokens[-1]))
    if name == "gradeclip":
        g = gradient(score, output)
        return loosened(query, key, value, g).view(2, 2, 2)
    eye = torch.eye(4, dtype=torch.float64)
    if name == "attentionrollout":
        total = ((weights[1] + eye) / 2) @ ((weights[0] + eye) / 2)
        return (seen.mean(1) @ total).view(2, 2, 2)
    with catching(net) as caught:
        y = net(images).pooler_output[:, 1]
    layers = [one.weights for one in caught.attentions[:2]]
    total = relevance(layers, [gradient(y, one) for one in layers])
    return ((gradient(score, seen) * seen).relu().mean(1) @ total).view(2, 2, 2)


def test_start_layer_leaves_out_those_before_it() -> None:
    net, images = timm_vit(), pictures()
    run, head = written_out(net, images)
    last = Run(run.logits, run.weights[1:], tokens=run.tokens[1:])
    for name in NAMES[:3]:
        result = gh.explainer(name, net, start_layer=-1)(images, target=2)
        expected = by_loops(name, last, head, Score([2, 2], [0]))[:, 1:].view(2, 2, 2)
        assert torch.allclose(result.raw, expected, rtol=1e-8, atol=1e-12)
        with pytest.raises(gh.OptionError, match=r"from -2 to 1, for there are 2 layers"):
            gh.explainer(name, net, start_layer=2)(images)


def test_options_that_are_not_legal() -> None:
    net, images = timm_vit(), pictures()
    with pytest.raises(gh.OptionError, match=r"one of 'mean', 'max', 'min', not 'sum'"):
        gh.AttentionRollout(net, head_fusion="sum")(images)
    with pytest.raises(gh.OptionError, match=r"from 0 up to under 1, not 1"):
        gh.AttentionRollout(net, discard_ratio=1)(images)


def test_gradeclip_leaves_the_network_its_heads() -> None:
    # The authors' code runs the last layer with one head, which is another network.
    net, images = timm_vit(), pictures()
    run, head = written_out(net, images, last_heads=1)
    assert not torch.allclose(run.logits, net(images), atol=1e-3)
    theirs = by_loops("gradeclip", run, head, Score([1, 1], [0]))[:, 1:].view(2, 2, 2)
    ours = gh.GradECLIP(net)(images, target=1).raw
    assert (ours - theirs).abs().max() > 0.01 * theirs.abs().max()
