"""Models: an architecture by name, with its weights, its labels and its preprocessing.

`load_model` is what the command line calls with a user's words. It finds the architecture, reads
the number of classes off the checkpoint, loads all of the file or raises, and hands out a model
in eval mode. This file joins its neighbours (architectures, heads, checkpoints, weights, labels,
presets), and tells what the user asked for where their errors do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import torch
from torch import nn

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import DeviceError, ModelError
from gradcam_hooks.images import Preprocess
from gradcam_hooks.images.foreign import Located
from gradcam_hooks.images.volumes import Volumes
from gradcam_hooks.models.architectures import Architecture, find_architecture
from gradcam_hooks.models.arguments import remembered, with_arguments
from gradcam_hooks.models.checkpoints import (
    Checkpoint,
    WeightsSpec,
    read_checkpoint,
    told_weights,
)
from gradcam_hooks.models.classifier import Head, build_blank, find_head
from gradcam_hooks.models.folders import from_folder
from gradcam_hooks.models.labels import LabelsSpec, labels_of, read_labels
from gradcam_hooks.models.own import importable
from gradcam_hooks.models.presets import find_preprocess, own_preprocess
from gradcam_hooks.models.weights import load_into, strip_prefix

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["LoadedModel", "load_model"]

# Heads that torchvision's networks use in training alone; they are not built, and not loaded.
_TRAINING_HEADS = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be explained, and where it came from.

    Attributes:
        model: in eval mode, on the device that was asked for.
        name: the architecture, as it was asked for.
        weights: "random", the name of published weights such as "DEFAULT", or the file.
        labels: the classes' names, where they are known.
        preprocess: how the network was trained to see pictures, as far as that is known.
        notes: what was taken from the file of weights by itself, in sentences.
    """

    model: nn.Module
    name: str
    weights: str
    labels: tuple[str, ...] | None
    preprocess: Preprocess | Located | Volumes
    notes: tuple[str, ...] = ()


def load_model(
    name: str,
    weights: WeightsSpec | None = None,
    *,
    model_args: Mapping[str, object] | None = None,
    num_classes: int | None = None,
    labels: LabelsSpec | None = None,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
) -> LoadedModel:
    """Build an architecture and load its weights, all of them or none.

    A file that bears the name of weights that torchvision publishes (`resnet50-0676ba61.pth`) and
    has as many classes brings those weights' labels and preprocessing. Other files and random
    weights are given the size, mean and standard deviation of the architecture's first published
    weights, and pictures are squashed, so that nothing of them is cut off. The auxiliary heads of
    GoogLeNet, Inception and the segmentation networks work in training alone and are left out.
    A checkpoint does not say whether GoogLeNet or Inception was trained with torchvision's
    `transform_input`; a function of your own can.

    Args:
        name: torchvision's ("vgg16"), timm's ("timm:resnet50"), or your own function
            ("package.module:function", "path/to/file.py:function"), which is called with
            `num_classes` if it takes that and the number is known; or a folder that transformers'
            `save_pretrained` wrote ("hf:folder"), which brings its weights, labels and processor.
        weights: a file, its bytes, or opened; "DEFAULT" or another name of published weights,
            which are downloaded; None for random weights. Of what a Lightning checkpoint keeps of
            its module's arguments, a function of your own gets those that it takes.
        model_args: what else the architecture is built with; it goes before the checkpoint's.
        num_classes: by default read off the checkpoint's last layer.
        labels: the classes' names, a file of them, or "imagenet" (see `labels.read_labels`).
        trust_pickle: run the code in a checkpoint that is more than tensors.
        device: where the model goes.

    Raises:
        ModelError: the architecture, the file or the labels are not there, are broken, or do not
            fit each other.
        DeviceError: the device is not there.

    >>> loaded = load_model("squeezenet1_1", num_classes=2, labels=["cat", "dog"])
    >>> loaded.weights, loaded.labels, loaded.preprocess.size, loaded.model.training
    ('random', ('cat', 'dog'), (224, 224), False)
    """
    target = _device(device)
    if num_classes is not None:
        check_count(num_classes, "num_classes", error=ModelError)
    asked = None if labels is None else read_labels(labels)
    if name.startswith("hf:"):
        if weights is not None or num_classes is not None or model_args:
            raise ModelError(f"'{name}' brings its weights, classes and arguments; leave them out")
        found = from_folder(Path(name[3:]).expanduser()).eval().to(target)
        return LoadedModel(
            found, name, name[3:], asked or labels_of(found), own_preprocess(found)[0]
        )
    with importable(name):
        said = dict(model_args or {})
        num_classes = _same_classes(num_classes, said)
        architecture = with_arguments(find_architecture(name), said)
        published = architecture.published or {}
        notes: tuple[str, ...] = ()
        head = None
        carried: tuple[str, ...] | None = None
        member: WeightsEnum | None = None
        if weights is None:
            model = architecture.build(num_classes)
        elif isinstance(weights, str) and _is_published(weights):
            model = _pretrained(architecture, weights)
            member = published.get(weights)
        else:
            checkpoint = read_checkpoint(weights, trust_pickle=trust_pickle)
            carried = checkpoint.labels
            architecture, notes = _as_remembered(architecture, checkpoint, said)
            head = find_head(architecture)
            classes = _classes(architecture, head, checkpoint, num_classes)
            member = _published_file(published, checkpoint.path, classes)
            model = _loaded(architecture, checkpoint, classes, member)
    own = tuple(member.meta["categories"]) if member is not None else ()
    given = asked or own or carried
    if num_classes is not None:
        _check_classes(architecture, model, head, f"num_classes={num_classes}", num_classes)
    if given:
        inside = "" if asked or own else f" in '{told_weights(weights or '')}' (pass labels=)"
        what = f"{len(given)} labels{inside}"
        _check_classes(architecture, model, head, what, len(given))
    return LoadedModel(
        model.eval().to(target),
        name,
        "random" if weights is None else told_weights(weights),
        given or None,
        find_preprocess(architecture, model, member, pretrained=weights == "DEFAULT"),
        notes,
    )


def _as_remembered(
    architecture: Architecture, checkpoint: Checkpoint, said: Mapping[str, object]
) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture with the arguments that a checkpoint keeps, and what is to be told."""
    found = remembered(architecture, checkpoint.hyper)
    kept = {name: value for name, value in found.items() if name not in said}
    if not kept:
        return architecture, ()
    words = ", ".join(f"{name}={value!r:.60}" for name, value in kept.items())
    told = f"'{architecture.name}' was called with what the checkpoint keeps: {words}."
    return with_arguments(architecture, kept), (told,)


def _same_classes(num_classes: int | None, said: dict[str, object]) -> int | None:
    """The number of classes, said as such or among the arguments, which then hold it no longer."""
    if "num_classes" not in said:
        return num_classes
    among = said.pop("num_classes")
    if num_classes is not None and among != num_classes:
        raise ModelError(f"num_classes={num_classes} and num_classes={among!r} in the arguments")
    return check_count(among, "num_classes", error=ModelError)


def _device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
        if chosen.type == "meta":
            raise RuntimeError("meta tensors hold no values")
    except (RuntimeError, AssertionError, TypeError) as error:
        there = ["cpu"]
        # Ahead of torch 2.7 the accelerator's name is an error where there is none.
        accelerator = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        if accelerator is not None:
            count = torch.accelerator.device_count()
            there += [f"{accelerator.type}:{index}" for index in range(count)]
        reason = (str(error).strip().splitlines() or ["not compiled in"])[0]
        raise DeviceError(
            f"device '{device}' cannot be used here ({reason}); available: {', '.join(there)}"
        ) from error
    return chosen


def _is_published(weights: str) -> bool:
    """Whether it is meant as a name of published weights: DEFAULT, IMAGENET1K_V1, ..."""
    return weights.isidentifier() and weights.isupper() and not Path(weights).exists()


def _pretrained(architecture: Architecture, weights: str) -> nn.Module:
    """The architecture with weights that its library downloads, or has downloaded before."""
    known = [] if architecture.pretrain is None else list(architecture.published or ["DEFAULT"])
    if architecture.pretrain is None or weights not in known:
        there = f", or one of these: {', '.join(known)}" if known else ""
        raise ModelError(
            f"there are no published weights '{weights}' for '{architecture.name}'; "
            f"give a file{there}"
        )
    if architecture.published is None:
        options: dict[str, object] = {}
        where = ""
    else:
        member = architecture.published[weights]
        file = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(member)
        options = {"weights": member}
        where = f" ({member.url}), or put it at '{file}'"
    try:
        return architecture.pretrain(**options)
    except Exception as error:  # the network, the disk and the unpickler raise nearly everything
        if architecture.published is not None and file.exists():
            raise ModelError(
                f"the downloaded weights of '{architecture.name}', '{file}', cannot be loaded "
                f"({type(error).__name__}: {error}); delete the file and try again"
            ) from error
        raise ModelError(
            f"the weights '{weights}' of '{architecture.name}' could not be downloaded "
            f"({type(error).__name__}: {error}). Without a network, bring the file from elsewhere "
            f"and give it as weights{where}"
        ) from error


def _file_name(member: WeightsEnum) -> str:
    return Path(urlparse(str(member.url)).path).name


def _published_file(
    published: Mapping[str, WeightsEnum], path: Path, classes: int | None
) -> WeightsEnum | None:
    """The published weights that a file is by its name, if it has as many classes as they."""
    for member in published.values():
        if _file_name(member) == path.name and len(member.meta["categories"]) == classes:
            return member
    return None


def _classes(
    architecture: Architecture,
    head: Head | None,
    checkpoint: Checkpoint,
    num_classes: int | None,
) -> int | None:
    """How many classes the checkpoint has, which must not contradict what was asked for."""
    if head is None:
        return num_classes
    prefix, _ = strip_prefix(checkpoint.state, head.keys)
    classes = head.classes(checkpoint.state, prefix)
    if classes is None:
        return num_classes
    if num_classes is not None and num_classes != classes:
        raise ModelError(
            f"num_classes={num_classes} was asked for, but '{checkpoint.path}' has {classes} "
            f"classes in its last layer '{head.key}'; leave num_classes out, or give another file"
        )
    return classes


def _loaded(
    architecture: Architecture,
    checkpoint: Checkpoint,
    classes: int | None,
    member: WeightsEnum | None,
) -> nn.Module:
    """The architecture with all of the checkpoint in it."""
    if architecture.kind != "torchvision":
        model = architecture.build(classes)
        load_into(model, checkpoint)
        return model
    options: dict[str, object] = {}
    key = architecture.name.lower()
    if member is not None and key in ("googlenet", "inception_v3"):
        options["transform_input"] = True  # as torchvision does with the weights it publishes
    if key.startswith("vit_"):
        options |= _image_size(key, checkpoint)
    # The file brings every value; to draw a VGG's at random first takes longer than reading it.
    model = build_blank(architecture, classes, **options)
    load_into(model, checkpoint, ignore=_TRAINING_HEADS, assign=True)
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        model = architecture.build(classes, **options)
        load_into(model, checkpoint, ignore=_TRAINING_HEADS)
    return model


def _image_size(key: str, checkpoint: Checkpoint) -> dict[str, object]:
    """A vision transformer's input size, from the number of its positions."""
    for name, tensor in checkpoint.state.items():
        if name.endswith("encoder.pos_embedding") and tensor.ndim == 3:
            side = round((tensor.shape[1] - 1) ** 0.5)
            return {"image_size": side * int(key.rpartition("_")[2])}
    return {}


def _check_classes(
    architecture: Architecture, model: nn.Module, head: Head | None, what: str, count: int
) -> None:
    """What was given for the classes agrees with the model that was built."""
    state = model.state_dict()
    head = head or find_head(architecture)
    classes = head.classes(state) if head is not None else None
    if classes is None:
        # Where the classes are is not known; but some layer must have as many outputs.
        lengths = {tensor.shape[0] for tensor in state.values() if tensor.ndim}
        fits = count in lengths
        told = "no layer with so many outputs"
    else:
        lengths = {classes}
        fits = count == classes
        told = f"{classes} classes"
    if not fits and not (count == 2 and 1 in lengths):  # two names for the ends of one logit
        raise ModelError(
            f"{what} do not fit '{architecture.name}', which has {told} as it was built; "
            "give one label for each class"
        )
