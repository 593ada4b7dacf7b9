"""Keywords that a model's forward does not take: what other libraries call ours, told ours."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping

from torch import nn

from gradcam_hooks.errors import OptionError

__all__ = ["ELSEWHERE", "check_call"]

ELSEWHERE = {
    "additional_forward_args": "What else the forward takes stands behind the input.",
    "attribute_to_layer_input": "A layer's output is explained; name the layer ahead of it.",
    "aug_smooth": "Several versions of the image are sampler=gradcam_hooks.Augment().",
    "batch_size": "How many variants run at once follows from the memory that is free.",
    "class_idx": "The class is target=.",
    "class_names": "The classes' names are labels=.",
    "classes": "The classes' names are labels=, the class that is explained is target=.",
    "colormap": "Colours are for drawing: result.overlay(colormap=...).",
    "device": "The model's own device is used; model.to(device) moves it.",
    "input_shape": "The input's size is read off the input.",
    "input_tensor": "The input stands first, without a name.",
    "inputs": "The input stands first, without a name.",
    "layers": "The layers are layer=, one name or a list.",
    "methods": "The method is method=; gradcam_hooks.compare takes several.",
    "n_steps": "Integrated gradients are sampler=gradcam_hooks.Integrate().",
    "normalized": "result.maps are in [0, 1], result.raw are as they were computed.",
    "output_dir": "gradcam_hooks.report writes into out=.",
    "relu_attributions": "result.maps are without what speaks against; result.raw has the signs.",
    "reshape_transform": "How tokens lie is read off the network; layout= says it otherwise.",
    "target_category": "The class is target=.",
    "target_class": "The class is target=.",
    "target_layer": "The layer is layer=.",
    "target_layers": "The layers are layer=, one name or a list.",
    "targets": "The class is target=: a number, a label, or a function of the output.",
    "transform": "How a picture becomes an input is preprocess=.",
    "transforms": "How a picture becomes an input is preprocess=.",
    "truth": "True classes are truths=, of gradcam_hooks.report and gradcam_hooks.audit.",
    "use_cuda": "The model's own device is used; model.to('cuda') moves it.",
}
"""What other libraries call it, or have in another place."""


def check_call(model: nn.Module, given: Mapping[str, object], otherwise: str = "") -> None:
    """Raise `OptionError` where the model's forward takes no argument of such a name.

    Args:
        model: the network.
        given: the keyword arguments for its forward.
        otherwise: what to say where no name is near, in place of ours for theirs.
    """
    if not given:
        return
    parameters = inspect.signature(model.forward).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, [*parameters, "target"], n=1, cutoff=0.7)
            hint = (
                f"did you mean {near[0]}=?" if near else "Options go where the explainer is made."
            )
            raise OptionError(
                f"the forward of {type(model).__name__} takes ({', '.join(parameters)}), and no "
                f"{name}=. {otherwise or ELSEWHERE.get(name, hint)}"
            )
