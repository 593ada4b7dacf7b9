"""Files that call themselves weights or labels: read, or refused in a line."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from gradcam_hooks import InputError, ModelError
from gradcam_hooks.apps.batch.truths import read_truths
from gradcam_hooks.models.checkpoints import Checkpoint, read_checkpoint
from gradcam_hooks.models.labels import read_labels
from gradcam_hooks.models.loading import load_model
from gradcam_hooks.models.weights import load_into
from tests.support.fuzz import damage, hurt, many, outcome

DEEP = "[" * 100_000


def test_labels_nested_too_deeply_are_none(tmp_path):
    head = {
        "__metadata__": {"labels": DEEP},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    written = json.dumps(head).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(written)) + written + b"1234")
    checkpoint = read_checkpoint(path)
    assert checkpoint.labels is None
    assert list(checkpoint.state) == ["w"]
    (tmp_path / "names.json").write_text(DEEP)
    with pytest.raises(ModelError, match=r"names\.json' cannot be read as labels"):
        read_labels(tmp_path / "names.json")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="cannot be read as labels: it is a pipe"):
        read_labels(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be read: it is a pipe"):
        read_truths(str(tmp_path / "pipe"), [])


def test_an_archive_that_claims_to_be_huge_is_not_unpacked(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(20_000_000))
    with pytest.raises(ModelError, match="claims to hold 20,000,000, as no weights do"):
        read_checkpoint(path)


def test_a_tensor_that_is_one_number_seen_a_trillion_times_is_not_unfolded(tmp_path):
    state = {"weight": torch.zeros(1, dtype=torch.float64).expand(10**6, 10**6)}
    torch.save(state, tmp_path / "a.pth")
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    for assign in (False, True):
        with pytest.raises(ModelError, match="of another shape: weight"):
            load_into(nn.Linear(2, 2, bias=False), checkpoint, assign=assign)
    fits = Checkpoint(Path("a"), {"weight": torch.ones(2, 2, dtype=torch.float64)})
    load_into(net := nn.Linear(2, 2, bias=False), fits, assign=True)
    assert net.weight.dtype == torch.float32


def test_a_function_that_ends_the_process_is_told(tmp_path):
    (tmp_path / "net.py").write_text("def build():\n    raise SystemExit(3)\n")
    with pytest.raises(ModelError, match=r"building '.*net\.py:build' failed: SystemExit: 3"):
        load_model(f"{tmp_path / 'net.py'}:build")


@pytest.mark.parametrize(
    "text", ["", "\0", 'file,label\n"' + "x" * 200_000 + '",b\n', "file,label\na\0b.png,cat\n", ","]
)
def test_a_table_of_truths_that_is_none_is_told(text, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=r"t\.csv'"):
        read_truths(str(tmp_path / "t.csv"), [tmp_path / "x.png"])


def whole() -> dict[str, bytes]:
    state = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "classes": ["a", "b"]}, zipped)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    labels = {"labels": '["a", "b"]'}
    return {"zip": zipped.getvalue(), "legacy": legacy.getvalue(), "st": save(state, labels)}


WHOLE = whole()


@many
@given(st.sampled_from(sorted(WHOLE)), damage)
def test_damaged_weights_are_read_or_told(tmp_path, kind, wounds):
    path = tmp_path / "a.pth"
    path.write_bytes(hurt(WHOLE[kind], wounds))
    checkpoint, _ = outcome(ModelError, read_checkpoint, path)
    assert checkpoint is None or checkpoint.state


@many
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_labels_and_truths_are_read_or_told(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    outcome(ModelError, read_labels, path)
    outcome(InputError, read_truths, str(path), [tmp_path / "b.png"])
