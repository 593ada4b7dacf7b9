"""The ways a model is run: compiled, wrapped, in half precision, parametrised, changing shape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import gradcam_hooks as gh
from tests.nets import gap_linear, images, residual


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def parallel(net: nn.Module) -> nn.Module:
    return nn.DataParallel(net)


def distributed(net: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(net)


def compiled(net: nn.Module) -> nn.Module:
    wrapped: nn.Module = torch.compile(net, backend="eager")
    wrapped(images())  # hooks come after the first compiled call
    return wrapped


def compiled_and_parallel(net: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(net))


@pytest.mark.usefixtures("group")
@pytest.mark.filterwarnings("ignore")  # what torch says of compiling and of process groups
@pytest.mark.parametrize("wrap", [parallel, distributed, compiled, compiled_and_parallel])
def test_a_wrapped_model_is_explained_as_what_is_inside(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    expected = gh.explain(residual(), images(), "bn2", target=1)
    wrapped = wrap(residual())
    for layer in ("bn2", "auto"):
        result = gh.explain(wrapped, images(), layer, target=1)
        if layer == "bn2":
            assert torch.equal(result.raw, expected.raw)
    assert gh.layers(wrapped, images()).recommended == "drop"


@pytest.mark.filterwarnings("ignore")
def test_a_model_compiled_in_place_is_explained_and_stays_compiled() -> None:
    expected = gh.explain(residual(), images(), "bn2", target=1)
    net = residual()
    net.compile(backend="eager")
    net(images())
    before = net._compiled_call_impl
    assert torch.equal(gh.explain(net, images(), "bn2", target=1).raw, expected.raw)
    assert net._compiled_call_impl is before
    assert before is not None


def test_a_scripted_model_is_refused_with_the_way_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and still met
        traced = torch.jit.trace(gap_linear(), images())
    with pytest.raises(gh.InputError, match=r"scripted or traced.*Explain the Python model"):
        gh.GradCAM(traced, "1")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_float32_maps_near_the_exact(dtype: torch.dtype) -> None:
    exact = gh.explain(residual(), images(), "bn2", target=1)
    half = gh.explain(residual().to(dtype), images().to(dtype), "bn2", target=1)
    assert half.maps.dtype == half.raw.dtype == torch.float32
    assert torch.allclose(half.maps, exact.maps, atol=0.1)


def test_autocast_is_the_models_matter_and_the_map_is_float32() -> None:
    net, x = residual().float(), images().float()
    exact = gh.explain(net, x, "bn2", target=1)
    with torch.autocast("cpu", torch.bfloat16):
        result = gh.explain(net, x, "bn2", target=1)
        assert torch.is_autocast_enabled("cpu")
    assert result.output.dtype == torch.bfloat16
    assert result.maps.dtype == result.raw.dtype == torch.float32
    assert torch.allclose(result.maps, exact.maps, atol=0.1)


def test_coarse_matrix_products_are_the_models_matter_too() -> None:
    net, x = residual().float(), images().float()
    exact = gh.explain(net, x, "bn2", target=1)
    torch.set_float32_matmul_precision("medium")
    try:
        result = gh.explain(net, x, "bn2", target=1)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.allclose(result.maps, exact.maps, atol=1e-5)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_weights(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net, plain = gap_linear().eval(), gap_linear().eval()
    wrap(net[0])
    with torch.no_grad():
        plain[0].weight.copy_(net[0].weight)
    expected = gh.explain(plain, images(), "0", target=1)
    assert torch.allclose(gh.explain(net, images(), "0", target=1).raw, expected.raw)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations(reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3)
            self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            x = torch.utils.checkpoint.checkpoint(self.second, x, use_reentrant=reentrant)
            return x.mean((2, 3))

    torch.manual_seed(0)
    net = Checkpointed().double()
    plain = nn.Sequential(net.first, net.second, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if reentrant:  # PyTorch itself refuses this kind where gradients stop at a layer
        with pytest.raises(gh.GradientError, match="use_reentrant=False"):
            gh.explain(net, images(), "first", target=1)
        return
    expected = gh.explain(plain, images(), "0", target=1).raw
    assert torch.allclose(gh.explain(net, images(), "first", target=1).raw, expected)


def test_a_model_that_changes_shape_between_calls() -> None:
    with gh.GradCAM(residual()) as cam:
        for size in ((8, 8), (8, 12), (6, 6), (8, 8)):
            assert cam(images(1, size)).maps.shape == (1, *size)


def test_a_model_on_the_meta_device_holds_no_values() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(gh.DeviceError, match="meta device and hold no values"):
        gh.explain(net, torch.empty(1, 3, 8, 8, device="meta"), "0")


def test_a_siamese_trunk_asks_which_call_and_maps_each_input() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            one, two = (self.trunk(side).mean((2, 3)) for side in (left, right))
            return nn.functional.cosine_similarity(one, two)

    torch.manual_seed(0)
    net = Siamese().double()
    left, right = images(2), images(2).flip(-1) + 1

    def same(output: Tensor) -> Tensor:
        return output

    with pytest.raises(gh.LayerError, match="ran 2 times"):
        gh.GradCAM(net, "trunk")(left, right, target=same)
    both = gh.GradCAM(net, "trunk", call="all")(left, right, target=same)
    for call in (0, 1):
        one = gh.GradCAM(net, "trunk", call=call)(left, right, target=same)
        assert torch.allclose(one.raw, both.raw[call])
    swapped = gh.GradCAM(net, "trunk", call=1)(right, left, target=same)
    assert torch.allclose(swapped.raw, both.raw[0])


def test_blocks_that_return_tuples() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            features = self.conv(x)
            return features.relu(), {"before": features}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: Tensor) -> Tensor:
            features, extra = self.block(x)
            return features.mean((2, 3)) + 0 * extra["before"].mean((2, 3))

    torch.manual_seed(0)
    net = Net().double()
    activation = net.block.conv(images()).relu().detach()
    result = gh.explain(net, images(), "block", target=2)
    assert torch.allclose(result.raw, activation[:, 2] / 36)
    assert gh.explain(net, images()).layers == ("block",)
