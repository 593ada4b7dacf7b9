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
    """No module of the model bears that name, or the glob matches none."""


class MethodNotFound(GradCamHooksError, LookupError):  # noqa: N818  (like LayerNotFound)
    """No method bears that name."""


class MethodError(GradCamHooksError, ValueError):
    """A function that cannot be a method, or one that failed or returned what is no map."""


class OptionError(GradCamHooksError, ValueError):
    """The method has no such option, or the option not that value."""


class LayerDidNotRun(GradCamHooksError, RuntimeError):  # noqa: N818  (a public name)
    """The layer exists, but this input did not pass through it."""


class LayerError(GradCamHooksError, ValueError):
    """The layer ran, but cannot be explained as it was asked for."""


class LayoutError(GradCamHooksError, ValueError):
    """Which axes of an activation are channels and which are space is not clear."""


class OutputError(GradCamHooksError, ValueError):
    """Where in the model's output the logits are is not clear."""


class TargetError(GradCamHooksError, ValueError):
    """The target is no class of this output, or it is of the wrong kind or length."""


class GradientError(GradCamHooksError, RuntimeError):
    """No gradient can flow from the score to the layer."""


class DeviceError(GradCamHooksError, RuntimeError):
    """The input and the model's parameters are on different devices."""


class InputError(GradCamHooksError, ValueError):
    """There is no image among the inputs, or it has not the shape that is needed."""


class ImageError(GradCamHooksError, OSError):
    """A picture that cannot be read or written."""


class ModelError(GradCamHooksError, ValueError):
    """A model that cannot be built, or a checkpoint that does not fit it."""


class ProbabilityWarning(UserWarning):
    """A class is explained by its probability, whose gradient vanishes where the model is sure."""
