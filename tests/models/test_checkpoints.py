"""What a file of weights holds is found by its bytes, and nobody's code is run unless trusted."""

from __future__ import annotations

import argparse
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.checkpoints import read_checkpoint

STATE: dict[str, Tensor] = OrderedDict(
    {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -0.5])}
)


def equal(state: object, expected: dict[str, Tensor] = STATE) -> bool:
    return (
        isinstance(state, dict)
        and list(state) == list(expected)
        and all(torch.equal(state[key], expected[key]) for key in expected)
    )


class Touch:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt"])
def test_a_bare_state_dict(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    torch.save(STATE, path)
    read = read_checkpoint(str(path))
    assert equal(read.state)
    assert read.path == path
    assert read.labels is None


def test_the_file_that_torch_wrote_before_zip(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert equal(read_checkpoint(tmp_path / "old.pth").state)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_safetensors_whatever_the_suffix_says(tmp_path: Path, name: str) -> None:
    safetensors.torch.save_file(STATE, tmp_path / name)
    read = read_checkpoint(tmp_path / name)
    assert equal(dict(sorted(read.state.items(), reverse=True)))


def test_what_was_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(STATE, path)
    read = read_checkpoint(path)
    with path.open("r+b") as file:
        file.seek(-32, 2)  # the eight floats
        file.write(bytes(32))
    assert torch.equal(read.state["weight"], STATE["weight"])
    assert read_checkpoint(path).state["weight"].tolist() == [[0.0] * 3] * 2
    assert read.state["bias"].data_ptr() % 64 == 0


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE},
        {"model": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": 3},
        {"model_state_dict": STATE, "loss": torch.tensor(0.1)},
        {"net": STATE},
        {"ema": STATE},
        {"model": {"state_dict": STATE}, "lr": 0.1},
        {"state_dict": STATE, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2"},
        {"model": STATE, "ema": {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}},
        {"state_dict": STATE, "model": "resnet18"},
        {"generator": STATE, "step": 7},
        {"model": STATE, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.9)},
        {"model": STATE, "best": np.float32(0.9), "count": np.int64(3)},
    ],
    ids=[
        *("state_dict", "model and optimizer", "model_state_dict", "net", "ema", "nested"),
        *("Lightning", "not the average", "name beside", "another name", "options", "NumPy"),
    ],
)
def test_the_containers_of_training_scripts(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    assert equal(read_checkpoint(tmp_path / "checkpoint.pth").state)


@pytest.mark.parametrize(
    "note",
    [
        {"classes": ["cat", "dog"]},
        {"class_names": ("cat", "dog")},
        {"labels": ["cat", "dog"]},
        {"idx_to_class": {1: "dog", 0: "cat"}},
        {"class_to_idx": {"dog": 1, "cat": 0}},
        {"classes": 2, "labels": torch.tensor([0, 1]), "class_names": ["cat", "dog"]},
    ],
    ids=lambda note: "+".join(note),
)
def test_labels_that_lie_beside_the_weights(tmp_path: Path, note: dict[str, object]) -> None:
    torch.save({"model": STATE, **note}, tmp_path / "checkpoint.pth")
    assert read_checkpoint(tmp_path / "checkpoint.pth").labels == ("cat", "dog")


def test_labels_in_the_header_of_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    notes = {"labels": json.dumps(["cat", "dog"]), "classes": "not JSON"}
    safetensors.torch.save_file(STATE, path, metadata=notes)
    assert read_checkpoint(path).labels == ("cat", "dog")


def test_a_whole_module_is_read_only_when_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    net = nn.Linear(3, 2)
    net.load_state_dict(STATE)
    for content in (net, {"model": net, "epoch": 1}):
        torch.save(content, path)
        with pytest.raises(ModelError, match=r"torch\.nn\.modules\.linear\.Linear") as caught:
            read_checkpoint(path)
        for words in ("runs code of whoever", "--trust-pickle", "model.state_dict()"):
            assert words in str(caught.value)
        assert equal(read_checkpoint(path, trust_pickle=True).state)


def test_the_code_in_a_pickle_is_not_run_unless_it_is_trusted(tmp_path: Path) -> None:
    bait = tmp_path / "bait"
    torch.save({"model": STATE, "extra": Touch(bait)}, tmp_path / "a.pth")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"model": STATE, "extra": Touch(bait)}))
    for name in ("a.pth", "b.pkl"):
        with pytest.raises(ModelError, match="trust_pickle=True"):
            read_checkpoint(tmp_path / name)
        assert not bait.exists()
        assert equal(read_checkpoint(tmp_path / name, trust_pickle=True).state)
        assert bait.exists()  # the bait works, so that its absence above means something
        bait.unlink()


def test_a_trusted_pickle_whose_class_is_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gone.pkl"
    path.write_bytes(b"\x80\x02cno_such_module\nNet\n.")
    with pytest.raises(ModelError, match=r"cannot be unpickled .*no_such_module.*importable"):
        read_checkpoint(path, trust_pickle=True)


def saved(tmp_path: Path, **options: bool) -> Path:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.randn(100, 100), "bias": torch.randn(100)}, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_file_cut_short(tmp_path: Path, zipped: bool, share: float) -> None:
    path = saved(tmp_path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"truncated or damaged .*copy it here again"):
        read_checkpoint(path)


def test_a_flipped_bit_among_the_weights(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # takes it without a word
    with pytest.raises(ModelError, match=r"is damaged .*CRC"):
        read_checkpoint(path)


def test_a_file_without_sums_is_no_damaged_file(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(read_checkpoint(tmp_path / "weights.pth").state)


def test_safetensors_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelError, match="truncated or damaged"):
        read_checkpoint(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(ModelError, match=r"no checkpoint .*wieghts\.pth.*weights\.pth"):
        read_checkpoint(tmp_path / "wieghts.pth")
    with pytest.raises(ModelError, match="is a folder, expected a file of weights"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello there\n", "is not a checkpoint: it begins with b'hello there"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "is not a checkpoint"),
        (b"PK\x03\x04 and no more", "truncated or damaged"),
    ],
    ids=["empty", "text", "web page", "LFS", "picture", "head of a zip"],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_checkpoint(path)


def test_other_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", weight=np.ones(3))
    with pytest.raises(ModelError, match=r"a zip archive that torch\.save did not write.*weight"):
        read_checkpoint(tmp_path / "arrays.npz")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), str(tmp_path / "script.pt"))
    with pytest.raises(ModelError, match="is a TorchScript archive, whose layers take no hooks"):
        read_checkpoint(tmp_path / "script.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "history": [0.1]}, r"its keys are epoch \(int\), history \(list\)"),
        ({"gen": STATE, "disc": STATE}, r"its keys are gen \(\w*[dD]ict\), disc"),
        ({}, "it holds an empty dict"),
        ([torch.ones(2)], "it holds a list"),
        (torch.ones(2), "it holds a Tensor"),
    ],
    ids=["no tensors", "two networks", "empty", "list", "tensor"],
)
def test_content_that_is_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=f"holds no state dict: {message}"):
        read_checkpoint(tmp_path / "weights.pth")
