"""Networks are built by name: torchvision's, timm's, and the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.architectures import find_architecture
from gradcam_hooks.models.classifier import build_blank, find_head
from gradcam_hooks.models.own import importable

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


NET = """
    from torch import nn

    def make(num_classes=10):
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, num_classes))

    def make_fixed():
        return nn.Sequential(nn.Linear(4, 6))

    def make_list():
        return [nn.Linear(4, 6)]

    def make_broken():
        raise KeyError("width")

    already_built = nn.Linear(4, 6)
"""


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "vgg16", "googlenet", "inception_v3", "regnet_x_400mf", "RESNET18"),
        *("deeplabv3_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "raft_small"),
    ],
)
def test_torchvision_is_built_without_a_warning_or_a_download(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    find_architecture(name)
    model = build_blank(find_architecture(name))
    assert sum(1 for _ in model.parameters()) > 30
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no architecture 'resnet-50' in torchvision.*resnet50"):
        find_architecture("resnet-50")
    with pytest.raises(ModelError, match=r"--model path/to/file.py:function"):
        find_architecture("qqqqqq")


def test_a_blank_network_has_shapes_and_buffers_but_no_memory() -> None:
    model = build_blank(find_architecture("swin_t"), 5)
    assert model.head.weight.shape == (5, 768)
    assert model.head.weight.is_meta
    index = model.features[1][0].attn.relative_position_index
    assert not index.is_meta
    assert index[:3].tolist() == [84, 83, 82]  # 13 * 6 + 6 in a window of 7, then leftwards


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vgg11", "classifier.6.bias"),
        ("resnet18", "fc.bias"),
        ("densenet121", "classifier.bias"),
        ("squeezenet1_1", "classifier.1.bias"),
        ("vit_b_32", "heads.head.bias"),
        ("maxvit_t", "classifier.5.weight"),
    ],
)
def test_the_head_is_what_grows_with_the_classes(name: str, key: str) -> None:
    head = find_head(find_architecture(name))
    assert head is not None
    assert (head.key, head.offset, head.slope) == (key, 0, 1)
    assert head.classes({key: torch.zeros(37)}) == 37
    assert head.classes({}) is None


def test_the_head_of_a_detector_has_several_outputs_for_a_class() -> None:
    head = find_head(find_architecture("retinanet_resnet50_fpn"))
    assert head is not None
    assert (head.key, head.slope) == ("head.classification_head.cls_logits.bias", 9)
    assert head.classes({head.key: torch.zeros(27)}) == 3
    assert head.classes({head.key: torch.zeros(28)}) is None


def test_raft_has_no_classes() -> None:
    assert find_head(find_architecture("raft_small")) is None


def test_a_function_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "net.py", NET)
    model = find_architecture(f"{path}:make").build(3)
    assert isinstance(model, nn.Sequential)
    assert model[2].out_features == 3
    assert find_architecture(f"{path}:make").build()[2].out_features == 10
    assert find_architecture(f"{path}:make_fixed").build(3)[0].out_features == 6
    head = find_head(find_architecture(f"{path}:make"))
    assert head is not None
    assert head.key == "2.bias"
    assert find_head(find_architecture(f"{path}:make_fixed")) is None
    assert "net" not in sys.modules


def test_a_function_that_reads_what_it_has_drawn_is_built_in_memory(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "reads.py",
        """
        import torch
        from torch import nn

        def make(num_classes):
            net = nn.Linear(4, num_classes)
            net.scale = float(net.weight.detach().abs().max().item())
            return net

        def make_two(**options):
            if options["num_classes"] != 2:
                raise ValueError("two classes only")
            return nn.Linear(4, 2)
        """,
    )
    head = find_head(find_architecture(f"{path}:make"))
    assert head is not None
    assert head.key == "bias"
    assert find_head(find_architecture(f"{path}:make_two")) is None
    assert find_architecture(f"{path}:make_two").build(2).out_features == 2


def test_a_file_imports_its_neighbours_and_two_files_do_not_mix_theirs(tmp_path: Path) -> None:
    for folder, width in (("one", 5), ("two", 7)):
        write(tmp_path, f"{folder}/parts.py", f"WIDTH = {width}\n")
        write(tmp_path, f"{folder}/blocks/tail.py", "from parts import WIDTH as TAIL\n")
        write(
            tmp_path,
            f"{folder}/net.py",
            """
            from dataclasses import dataclass
            from torch import nn
            from blocks.tail import TAIL

            @dataclass
            class Options:
                width: "int" = TAIL

            def make():
                from parts import WIDTH
                assert WIDTH == TAIL
                return nn.Linear(Options().width, 2)
            """,
        )
    path_before, modules_before = (
        list(sys.path),
        {"parts", "blocks", "blocks.tail"} & {*sys.modules},
    )
    for folder, width in (("one", 5), ("two", 7)):
        name = f"{tmp_path / folder / 'net.py'}:make"
        with importable(name):
            assert find_architecture(name).build().in_features == width
    assert sys.path == path_before
    assert {"parts", "blocks", "blocks.tail"} & {*sys.modules} == modules_before == set()


def test_a_function_in_a_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "my_own_package/__init__.py", "")
    write(tmp_path, "my_own_package/nets.py", NET)
    monkeypatch.chdir(tmp_path)
    assert find_architecture("my_own_package.nets:make").build(3)[2].out_features == 3
    with pytest.raises(ModelError, match=r"no module 'my_own_package\.netz' here"):
        find_architecture("my_own_package.netz:make")
    with pytest.raises(ModelError, match="no module 'no_such_package' here"):
        find_architecture("no_such_package.nets:make")


def test_what_is_wrong_with_a_function_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "net.py", NET)
    with pytest.raises(ModelError, match=r"'makes' in .*net\.py' is not there; did you mean make"):
        find_architecture(f"{path}:makes")
    with pytest.raises(ModelError, match=r"'already_built' in .* is a Linear"):
        find_architecture(f"{path}:already_built")
    with pytest.raises(ModelError, match=r"returned a list, expected a torch\.nn\.Module"):
        find_architecture(f"{path}:make_list").build()
    with pytest.raises(ModelError, match=r"make_broken' failed: KeyError: 'width'"):
        find_architecture(f"{path}:make_broken").build()
    with pytest.raises(ModelError, match=r"no file .*nett\.py'; did you mean 'net\.py'"):
        find_architecture(f"{tmp_path / 'nett.py'}:make")
    with pytest.raises(ModelError, match=r"is a file; say which function in it"):
        find_architecture(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def make(:", "SyntaxError"),
        ("raise SystemExit(2)", "if __name__ == '__main__'"),
        ("1 / 0", "ZeroDivisionError"),
    ],
    ids=["import", "syntax", "exit", "division"],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "broken.py", text)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=r"importing .*broken\.py' failed: .*" + message):
        find_architecture(f"{path}:make")
    assert not {key for key in set(sys.modules) - before if "broken" in key}


def test_timm() -> None:
    pytest.importorskip("timm")
    for name in ("timm:resnet10t", "timm/resnet10t"):
        architecture = find_architecture(name)
        assert build_blank(architecture, 5).fc.weight.shape == (5, 512)
    head = find_head(architecture)
    assert head is not None
    assert head.key == "fc.bias"
    with pytest.raises(
        ModelError, match=r"no architecture 'resnet10tt' in timm; did you mean .*resnet10t"
    ):
        find_architecture("timm:resnet10tt")


def run(tmp_path: Path, package: str, text: str, name: str) -> str:
    """Ask a fresh process, where a package is replaced by a file that fails, for a model."""
    write(tmp_path, f"{package}/__init__.py", text)
    script = f"""
        import sys
        sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
        from gradcam_hooks.models.architectures import find_architecture
        from gradcam_hooks.errors import ModelError
        try:
            find_architecture({name!r})
        except ModelError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    return done.stdout


def test_torch_and_torchvision_of_different_builds_are_told_in_one_line(tmp_path: Path) -> None:
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    told = run(tmp_path, "torchvision", text, "resnet18")
    assert told.count("\n") == 1
    assert f"beside torch {torch.__version__} (operator torchvision::nms does not exist)" in told
    assert "pip install torch torchvision" in told


def test_timm_that_is_missing_is_told(tmp_path: Path) -> None:
    text = "raise ImportError('No module named timm')"
    told = run(tmp_path, "timm", text, "timm:resnet18")
    assert "'timm:resnet18' needs timm" in told
    assert "pip install timm" in told
