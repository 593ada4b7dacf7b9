"""What PyTorch refuses in somebody's model, told with the way out.

Some of what a model does works in its own use and not while it is explained: gradients are off
ahead of the layer and on behind it. PyTorch's words for that name neither the model nor what to
do, so here they are told as the library's errors, as is what does not fit it of the inputs.
Knows modules and messages; no hook, no layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from traceback import walk_tb

from torch import Tensor, nn

from gradcam_hooks.errors import GradCamHooksError, GradientError, InputError
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.misfits import misfit
from gradcam_hooks.network.tree import drawn, tensors

__all__ = ["refusals_told"]


@contextmanager
def refusals_told(model: nn.Module, args: Sequence[object] = ()) -> Iterator[None]:
    """While open, what PyTorch is known to refuse is raised as the library's error.

    Args:
        model: the network.
        args: what it is run with; where its forward fails on them, what does not fit is told.

    Raises:
        GradientError, InputError: with what the model does, and what to do.
    """
    try:
        yield
    except GradCamHooksError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        told = _told(str(error), type(error).__name__, model)
        if told is None and _in_forward(error):
            told = misfit(model, args, error)
            if told is None and isinstance(error, TypeError | AttributeError):
                told = _not_taken(error, model, args)
        if told is None:
            raise
        raise told from error


def _not_taken(
    error: Exception, model: nn.Module, args: Sequence[object]
) -> GradCamHooksError | None:
    """What is said of a list or a dict with tensors that the forward was given, and broke at."""
    structure = next((one for one in args if isinstance(one, list | tuple | Mapping)), None)
    if structure is None or next(tensors(structure), None) is None:
        return None
    first, _, _ = (str(error).splitlines() or [""])[0].partition(", but expected")
    return InputError(
        f"the forward of {type(model).__name__} was given a {type(structure).__name__},\n"
        f"{drawn(structure)}\nand ended in {type(error).__name__}: {first}.\nPass what it "
        "takes: of a DataLoader's batch the images alone, as in images, labels = batch or "
        "batch['image']; of a list of pictures torch.stack(pictures)."
    )


def _in_forward(error: Exception) -> bool:
    """Whether the network raised it, rather than a target or a method."""
    return any(frame.f_code is Inputs.call.__code__ for frame, _ in walk_tb(error.__traceback__))


def _told(words: str, kind: str, model: nn.Module) -> GradCamHooksError | None:
    if "cannot register a hook on a tensor that doesn't require grad" in words:
        return GradientError(
            "the model's forward registers a hook on a tensor (x.register_hook), which PyTorch "
            "lets it do only where a gradient flows, and not everywhere one does while it is "
            "explained. Take that line out, which nothing here needs, or let it ask first: if "
            "x.requires_grad: x.register_hook(...)."
        )
    if "Inference tensors cannot be saved for backward" in words:
        kept = _kept(model)
        where = f", {kept}," if kept else ""
        return GradientError(
            f"the model keeps a tensor{where} that it made under torch.inference_mode(), and "
            "PyTorch lets no gradient pass through it. Clear it (set it to None, where the model "
            "makes it anew), or load the model again and run it first under torch.no_grad()."
        )
    if kind == "CheckpointError":
        return GradientError(
            "the model checkpoints activations (torch.utils.checkpoint): it runs a part again in "
            "the backward pass, and there this method's replaced operations are gone. Turn "
            "checkpointing off for the explanation, such as model.gradient_checkpointing_disable() "
            "or the model's own flag; 'gradcam' works with it on."
        )
    if "uninitialized parameter" in words or "uninitialized buffer" in words:
        return InputError(
            "the model has lazy layers that have no weights before the first run. Run it once, "
            "model(x), and load its weights; then explain it."
        )
    return None


def _kept(model: nn.Module) -> str:
    """The first tensor made under inference mode that a module keeps as an attribute."""
    for name, module in model.named_modules():
        for key, value in [*vars(module).items(), *module._buffers.items()]:
            if isinstance(value, Tensor) and value.is_inference():
                return f"{name}.{key}".lstrip(".")
    return ""
