"""The error tree: every error this library raises on purpose, told in one place.

    GradCamHooksError
    ├── LayerNotFound      LookupError   no module of that name, or the glob matches none
    ├── MethodNotFound     LookupError   no method of that name
    ├── MethodError        ValueError    a function is no method, or what it returned is no map
    ├── OptionError        ValueError    the method has no such option, or not with that value
    ├── LayerDidNotRun     RuntimeError  the layer exists, but this input did not reach it
    ├── LayerError         ValueError    the layer ran, but cannot be explained as it was asked for
    ├── LayoutError        ValueError    which axes are channels and which are space is not clear
    ├── OutputError        ValueError    where in the model's output the logits are is not clear
    ├── TargetError        ValueError    the target is no class of this output, or of the wrong kind
    ├── GradientError      RuntimeError  no gradient can flow from the score to the layer
    ├── DeviceError        RuntimeError  the input and the model are on different devices
    ├── InputError         ValueError    there is no image among the inputs, or not one that fits
    ├── ImageError         OSError       a picture that cannot be read or written
    └── ModelError         ValueError    a model that cannot be built, or weights that do not fit

    UserWarning
    └── ProbabilityWarning             the score is a probability, whose gradient can vanish

Each message says what was expected, what came, the nearest name and the next step. This file
knows nothing of the rest of the library.
"""

from __future__ import annotations

__all__ = [
    "DeviceError",
    "GradCamHooksError",
    "GradientError",
    "ImageError",
    "InputError",
    "LayerDidNotRun",
    "LayerError",
    "LayerNotFound",
    "LayoutError",
    "MethodError",
    "MethodNotFound",
    "ModelError",
    "OptionError",
    "OutputError",
    "ProbabilityWarning",
    "TargetError",
]


class GradCamHooksError(Exception):
    """The root of every error that gradcam_hooks raises on purpose."""


class LayerNotFound(GradCamHooksError, LookupError):  # noqa: N818  (a public name)
    """No module of the model bears that name, or the glob matches none.

    The message names the nearest. ``print(gradcam_hooks.layers(model, x))`` lists those that ran,
    and ``layer="auto"`` takes one by itself.
    """


class MethodNotFound(GradCamHooksError, LookupError):  # noqa: N818  (like LayerNotFound)
    """No method bears that name.

    The message names the nearest. ``gradcam_hooks.METHODS`` and ``gradcam-hooks methods`` list all.
    """


class MethodError(GradCamHooksError, ValueError):
    """A function that cannot be a method, or one that failed or returned what is no map.

    A rule is a function of an activation and its gradient, ``(batch, channels, *space)`` both, that
    returns ``(batch, *space)``. See `method`.
    """


class OptionError(GradCamHooksError, ValueError):
    """The method has no such option, or the option not that value.

    The message lists the options that it has; ``gradcam-hooks methods NAME`` does too.
    """


class LayerDidNotRun(GradCamHooksError, RuntimeError):  # noqa: N818  (a public name)
    """The layer exists, but this input did not pass through it.

    It may lie in a branch that was not taken, or its function was called and not the module. Take a
    layer of ``gradcam_hooks.layers(model, x)``, which lists those that ran.
    """


class LayerError(GradCamHooksError, ValueError):
    """The layer ran, but cannot be explained as it was asked for.

    It ran several times (``call=``), or gives no floating-point activation of the images, or the
    method looks at what this network has not, such as attention. The message says which.
    """


class LayoutError(GradCamHooksError, ValueError):
    """Which axes of an activation are channels and which are space is not clear.

    The message shows the readings there are, each as it is passed: ``layout="b 1+(h w) c"``. Of the
    input's own axes the word is ``axes=``. Or name a layer that still has space.
    """


class OutputError(GradCamHooksError, ValueError):
    """Where in the model's output the logits are is not clear.

    The message draws what came. Pass ``output=``: a key, an index or a function of the output.
    """


class TargetError(GradCamHooksError, ValueError):
    """The target is no class of this output, or it is of the wrong kind or length.

    A class is a number below the count of the logits, or a label where ``labels=`` are known;
    boxes, regions and words have targets of their own, which the message names.
    """


class GradientError(GradCamHooksError, RuntimeError):
    """No gradient can flow from the score to the layer.

    Something between them leaves the graph: ``detach()``, ``no_grad``, ``argmax``, rounding, NumPy.
    Take a layer behind it, or a method that needs no gradient: ``"eigencam"``, ``"scorecam"``.
    """


class DeviceError(GradCamHooksError, RuntimeError):
    """The input and the model's parameters are on different devices.

    Move one to the other: ``x.to(next(model.parameters()).device)``.
    """


class InputError(GradCamHooksError, ValueError):
    """There is no image among the inputs, or it has not the shape that is needed.

    An input is a tensor ``(batch, channels, *space)`` of floats, ready for the model; or a picture,
    which ``preprocess=`` makes ready. Where there are several inputs, ``image=`` says which.
    """


class ImageError(GradCamHooksError, OSError):
    """A picture that cannot be read or written.

    The message names the file and what is wrong with it: damaged, of no known kind, larger than
    ``max_pixels``, or in the way of what is to be written.
    """


class ModelError(GradCamHooksError, ValueError):
    """A model that cannot be built, or a checkpoint that does not fit it.

    The message says which of the weights do not fit. An own network is ``file.py:function``; a file
    that is more than tensors takes ``trust_pickle=True``, which runs the code in it.
    """


class ProbabilityWarning(UserWarning):
    """A class is explained by its probability, whose gradient vanishes where the model is sure.

    Pass ``output="logits"``, which explains what went into the last softmax or sigmoid.
    """
