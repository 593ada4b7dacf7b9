"""All of a checkpoint gets into all of a model, whatever a wrapper wrote before the keys."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.checkpoints import Checkpoint, read_checkpoint
from gradcam_hooks.models.weights import load_into, strip_prefix


class Net(nn.Module):
    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 1)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)


def trained(**sizes: int) -> Net:
    torch.manual_seed(0)
    net = Net(**sizes)
    with torch.no_grad():
        for tensor in (*net.parameters(), net.bn.running_mean, net.bn.running_var):
            tensor.copy_(torch.rand_like(tensor))
    return net


def checkpoint(state: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("net.pth"), state)


def loaded(state: dict[str, Tensor], **options: object) -> Net:
    net = Net()
    load_into(net, checkpoint(state), **options)
    return net


def same(net: nn.Module, other: nn.Module) -> bool:
    ours, theirs = net.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize(
    "prefix",
    [
        *("", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."),
        *("model.module.", "net.backbone."),
    ],
)
def test_the_prefix_of_a_wrapper_is_stripped(prefix: str, assign: bool) -> None:
    net = trained()
    state = {prefix + key: value for key, value in net.state_dict().items()}
    assert same(loaded(state, assign=assign), net)


def test_the_real_wrappers(tmp_path: Path) -> None:
    net = trained()
    wrappers = {
        "parallel": nn.DataParallel(net),
        "compiled": torch.compile(net),
        "both": nn.DataParallel(torch.compile(net)),
        "average": torch.optim.swa_utils.AveragedModel(net),  # has a counter beside the network
    }
    for name, wrapper in wrappers.items():
        torch.save(wrapper.state_dict(), tmp_path / name)
        fresh = Net()
        load_into(fresh, read_checkpoint(tmp_path / name))
        assert same(fresh, net), name


def test_nothing_is_stripped_where_the_keys_fit_as_they_are() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()
            self.module = Net()

    outer = Outer()
    prefix, keys = strip_prefix(outer.state_dict(), outer.state_dict().keys())
    assert prefix == ""
    assert keys == list(outer.state_dict())


def test_what_lies_outside_the_prefix_belongs_to_something_else() -> None:
    net = trained()
    state = {f"model.{key}": value for key, value in net.state_dict().items()}
    state["criterion.weight"] = torch.ones(3)
    state |= {f"teacher.{key}": torch.zeros_like(v) for key, v in net.state_dict().items()}
    assert same(loaded(state), net)


def test_two_networks_under_names_of_their_own_are_not_guessed() -> None:
    state = {
        f"{name}.{key}": value
        for name in ("student", "teacher")
        for key, value in Net().state_dict().items()
    }
    with pytest.raises(ModelError, match=r"more than once, under student\., teacher\."):
        loaded(state)


def test_missing_and_unexpected_keys_and_shapes_are_listed_and_counted() -> None:
    state = trained(classes=5, width=6).state_dict()
    del state["conv.bias"], state["bn.running_mean"]
    state["head.weight"] = torch.zeros(5, 6)
    with pytest.raises(ModelError) as caught:
        loaded(state)
    for words in (
        "'net.pth' does not fit Net: of 9 keys 2 missing: conv.bias (4,), bn.running_mean (4,);",
        "1 unexpected: head.weight (5, 6);",
        "6 of another shape: conv.weight (6, 1, 1, 1) where the model has (4, 1, 1, 1), ",
        ", and 2 more. ",
        "path/to/file.py:function",
    ):
        assert words in str(caught.value)


def test_a_backbone_in_a_wrapper_with_its_own_head_is_not_half_loaded() -> None:
    state = {
        key if key.startswith("fc.") else f"backbone.{key}": value
        for key, value in trained().state_dict().items()
    }
    with pytest.raises(
        ModelError,
        match=r"prefix 'backbone\.'\): of 9 keys 2 missing: fc\.weight \(3, 4\), fc\.bias",
    ):
        loaded(state)


def test_an_extra_bias_is_an_error() -> None:
    state = trained().state_dict()
    state["aux.bias"] = torch.zeros(3)
    with pytest.raises(ModelError, match=r"1 unexpected: aux\.bias \(3,\)\."):
        loaded(state)
    assert same(loaded(state, ignore=("aux.",)), trained())


def test_very_old_files_lack_the_counter_of_batch_norm() -> None:
    net = trained()
    state = OrderedDict(net.state_dict())
    del state["bn.num_batches_tracked"]
    assert same(loaded(state), net)


@pytest.mark.parametrize("assign", [False, True])
def test_half_precision_is_taken_in_the_model_s_own(assign: bool) -> None:
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in trained().state_dict().items()
    }
    net = loaded(state, assign=assign)
    assert net.fc.weight.dtype == torch.float32
    assert torch.equal(net.fc.weight, trained().fc.weight.half().float())


def test_dense_blocks_under_their_names_of_2017() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.denselayer1 = nn.ModuleDict(
                {"norm1": nn.BatchNorm2d(2), "conv1": nn.Conv2d(2, 2, 1)}
            )

    net = Dense()
    state = {
        key.replace("norm1", "norm.1").replace("conv1", "conv.1"): value + 1
        for key, value in net.state_dict().items()
    }
    assert "denselayer1.norm.1.weight" in state
    load_into(net, checkpoint(state))
    assert net.denselayer1["norm1"].weight.tolist() == [2.0, 2.0]
