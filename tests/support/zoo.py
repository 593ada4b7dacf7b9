"""What the tests of many architectures share: builders, and the one check against the oracle.

The axes are permuted by hand, as each case's table says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.oracle import given, grad_cam, oracle

Shape = tuple[int, ...]
ByHand = Callable[[Tensor, Shape], Tensor]
Case = tuple[Callable[[], nn.Module], tuple[Shape, ...], ByHand]
"""How to make the network, the shapes of inputs to try, and where its layer's axes are."""

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "num_labels": 5,
}
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "num_labels": 5}


def vision(name: str, **options: object) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=5, **options)


def zoo(name: str, **options: object) -> nn.Module:
    return timm.create_model(name, num_classes=5, **options)


def face(name: str, **options: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def tokens(prefix: int, *shrink: int) -> ByHand:
    """(batch, prefix + cells, channels) to (batch, channels, *cells), by hand."""

    def by_hand(t: Tensor, space: Shape) -> Tensor:
        grid = [size // by for size, by in zip(space, shrink, strict=True)]
        return t[:, prefix:].transpose(1, 2).reshape(len(t), t.shape[2], *grid)

    return by_hand


def first(t: Tensor, space: Shape) -> Tensor:
    return t


def last(t: Tensor, space: Shape) -> Tensor:
    return t.permute(0, t.ndim - 1, *range(1, t.ndim - 1))


def drawn(net: nn.Module) -> nn.Module:
    """The network in float64 and eval mode, what its library leaves at zero drawn at random."""
    for parameter in net.parameters():
        if parameter.ndim > 1 and not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    return net.double().eval()


def equal(raw: object, expected: Tensor) -> None:
    assert isinstance(raw, Tensor)
    assert raw.shape == expected.shape
    scale = expected.abs().max().item()
    assert scale > 0
    assert torch.allclose(raw, expected.to(raw), rtol=1e-5, atol=1e-5 * scale)


def explained(
    net: nn.Module,
    by_hand: ByHand,
    scores: Callable[[object], Tensor] | None = None,
    *args: object,
    target: object = None,
    options: Mapping[str, object] | None = None,
    space: Shape | None = None,
    **kwargs: object,
) -> gh.Explanation:
    """Explain with what ``"auto"`` takes, and hold the raw map against the oracle.

    The network has run before, as those that users explain have, and left behind what its library
    leaves at a first call. It is explained once more where a hook of the user's keeps what the
    layer gives, and a score is made of that as well.

    Args:
        net: the network.
        by_hand: where its layer's axes are, given the input's space.
        scores: what is explained, computed from the output by hand; None for the predicted class.
        args: its inputs, the image the first.
        target: what the library is asked for.
        options: the explainer's.
        space: what the network works on where that is not the image's size.
        kwargs: its keyword inputs.
    """
    with torch.no_grad():
        net(*args, **kwargs)
    options = dict(options or {})
    result = gh.GradCAM(net, **options)(*args, target=target, **kwargs)
    image = args[0] if isinstance(args[0], Tensor) else torch.stack(list(args[0]))
    size = tuple(image.shape[2:])
    assert result.maps.shape == (len(image), *size)
    assert set(result.diagnosis) <= {"ok", "coarse"}
    assert result.maps.flatten(1).std(1).min() > 0.01

    def predicted(output: object) -> Tensor:
        logits = output if isinstance(output, Tensor) else output.logits  # type: ignore[attr-defined]
        return logits.gather(1, logits.argmax(1, keepdim=True))[:, 0]

    layer, _, number = result.layers[0].partition("#")
    call = int(number or 0)
    asked = scores or predicted
    seen = oracle(net, layer, asked, *args, call=call, **kwargs)
    equal(result.raw, grad_cam(*(by_hand(one, space or size) for one in seen)))

    kept: list[Tensor] = []

    def with_what_was_kept(output: object) -> Tensor:
        return asked(output) + kept[call].square().sum()

    with (
        net.register_forward_pre_hook(lambda *_: kept.clear()),
        net.get_submodule(layer).register_forward_hook(
            lambda module, args, output: kept.append(given(output))
        ),
    ):
        seen = oracle(net, layer, with_what_was_kept, *args, call=call, **kwargs)
        options = {**options, "layer": layer, "output": None, "call": call if number else None}
        again = gh.GradCAM(net, **options)(*args, target=with_what_was_kept, **kwargs)
    equal(again.raw, grad_cam(*(by_hand(one, space or size) for one in seen)))
    return result


def images(shape: Sequence[int], seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)
