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
from gradcam_hooks.network.state import recurrent_on_cuda
from tests.support.nets import gap_linear, images, residual


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


def compiled_by_aot(net: nn.Module) -> nn.Module:
    wrapped: nn.Module = torch.compile(net, backend="aot_eager")
    with torch.no_grad():
        wrapped(images())
    return wrapped


def compiled_and_parallel(net: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(net))


@pytest.mark.usefixtures("group")
@pytest.mark.filterwarnings("ignore")  # what torch says of compiling and of process groups
@pytest.mark.parametrize(
    "wrap", [parallel, distributed, compiled, compiled_by_aot, compiled_and_parallel]
)
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


class Recurrent(nn.Module):
    """Convolutions, whose columns an LSTM or a GRU reads from left to right."""

    def __init__(self, head: type[nn.RNNBase]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = head(4 * 6, 5, batch_first=True)
        self.fc = nn.Linear(5, 3)
        self.cudnn: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.cudnn.append(torch.backends.cudnn.enabled)
        columns = self.conv(x).flatten(1, 2).transpose(1, 2)
        states, _ = self.head(columns)
        logits: Tensor = self.fc(states[:, -1])
        return logits


class SaysCuda(nn.LSTM):
    """An LSTM whose parameters say that they are on CUDA, on machines that have none."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        class OnCuda(nn.Parameter):
            is_cuda = True

        yield from (OnCuda(parameter) for parameter in super().parameters(recurse))


@pytest.mark.parametrize("head", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_heads_in_eval_mode(head: type[nn.RNNBase]) -> None:
    net = Recurrent(head).double().eval()
    activation = net.conv(images()).detach().requires_grad_()
    states, _ = net.head(activation.flatten(1, 2).transpose(1, 2))
    score = net.fc(states[:, -1])[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).detach()
    assert torch.allclose(gh.explain(net, images(), "conv", target=1).raw, expected)
    assert all(net.cudnn)  # nothing is on CUDA, so nothing is switched off


def test_cudnn_is_off_for_a_recurrent_model_on_cuda_and_as_found_behind_it() -> None:
    net = Recurrent(SaysCuda).double()
    before = torch.backends.cudnn.enabled
    gh.explain(net, images(), "conv", target=1)
    assert net.cudnn == [False]
    assert torch.backends.cudnn.enabled == before
    with pytest.raises(gh.TargetError):
        gh.explain(net, images(), "conv", target=99)
    assert net.cudnn == [False, False]
    assert torch.backends.cudnn.enabled == before
    assert not recurrent_on_cuda(Recurrent(nn.LSTM).modules())
    assert not recurrent_on_cuda(gap_linear().modules())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("head", [nn.LSTM, nn.GRU])
def test_recurrent_heads_in_eval_mode_on_cuda(head: type[nn.RNNBase]) -> None:
    net = Recurrent(head).double().eval()
    expected = gh.explain(net, images(), "conv", target=1).raw
    result = gh.explain(net.cuda(), images().cuda(), "conv", target=1)
    assert torch.allclose(result.raw.cpu(), expected)


def test_tied_weights() -> None:
    class Tied(nn.Module):
        """One convolution's weights in two modules, and one module under two names."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = nn.Conv2d(3, 3, 3, padding=1)
            self.second.weight = self.first.weight
            self.fc = nn.Linear(3, 3)
            self.alias = self.second

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.second(self.first(x).relu()).mean((2, 3)))
            return logits

    net = Tied().double()
    activation = net.second(net.first(images()).relu()).detach()
    expected = (activation * net.fc.weight[1][:, None, None] / 64).sum(1).detach()
    for layer in ("second", "alias", net.second):
        assert torch.allclose(gh.explain(net, images(), layer, target=1).raw, expected)
    first = gh.explain(net, images(), "first", target=1)
    untied = nn.Conv2d(3, 3, 3, padding=1).double()
    with torch.no_grad():
        untied.weight.copy_(net.second.weight)
        untied.bias.copy_(net.second.bias)  # type: ignore[union-attr]
    net.second = untied
    assert torch.equal(gh.explain(net, images(), "first", target=1).raw, first.raw)


def quantised_head(net: nn.Module) -> nn.Module:
    from torch.ao import quantization

    head: nn.Module = quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    return head


def quantised(net: nn.Module) -> nn.Module:
    from torch.ao import quantization

    model = nn.Sequential(quantization.QuantStub(), *net.children(), quantization.DeQuantStub())
    model.eval().qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
    quantization.prepare(model, inplace=True)
    model(images().float())
    converted: nn.Module = quantization.convert(model)
    return converted


@pytest.fixture
def quantisation() -> Iterator[None]:
    """An engine that this machine has, and peace from torch's warnings of its end."""
    engines = [one for one in torch.backends.quantized.supported_engines if one != "none"]
    if not engines:
        pytest.skip("this build of PyTorch quantises nothing")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engines[-1]
    yield
    torch.backends.quantized.engine = before


@pytest.mark.usefixtures("quantisation")
@pytest.mark.filterwarnings("ignore")  # that torch.ao moves to a package of its own
def test_a_quantised_head_lets_no_gradient_through_and_activations_serve() -> None:
    net = quantised_head(gap_linear().float())
    message = r"ends after '4', a quantised Linear, .*explain the floating-point model"
    for layer in ("0", "auto"):
        with pytest.raises(gh.GradientError, match=message):
            gh.explain(net, images().float(), layer, target=1)
    result = gh.explain(net, images().float(), "0", method="eigencam")
    assert set(result.diagnosis) == {"ok"}


@pytest.mark.usefixtures("quantisation")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", ["1", "auto"])
@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_layers_of_integers_are_refused_with_the_way_out(layer: str, method: str) -> None:
    net = quantised(gap_linear().float())
    with pytest.raises(
        gh.GradientError, match=r"is quantised, it gives torch\.quint8.*Explain the"
    ):
        gh.explain(net, images().float(), layer, method=method)


def test_what_is_scripted_is_refused_as_what_is_traced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(gap_linear())
    with pytest.raises(gh.InputError, match=r"scripted or traced.*Explain the Python model"):
        gh.explain(scripted, images())
