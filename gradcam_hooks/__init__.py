"""Point at a layer by its dotted name, and see what the network looked at.

>>> import gradcam_hooks as gh, torch
>>> model = torch.nn.Sequential(
...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
... )
>>> with gh.GradCAM(model, "0") as cam:
...     result = cam(torch.rand(1, 3, 32, 32), target=5)
>>> result.maps.shape
torch.Size([1, 32, 32])
"""

from __future__ import annotations

from gradcam_hooks.errors import (
    DeviceError,
    GradCamHooksError,
    GradientError,
    ImageError,
    InputError,
    LayerDidNotRun,
    LayerError,
    LayerNotFound,
    LayoutError,
    MethodNotFound,
    ModelError,
    OutputError,
    TargetError,
)
from gradcam_hooks.explainers import Explainer, GradCAM, explain, explainer
from gradcam_hooks.explanation import Diagnosis, Explanation
from gradcam_hooks.images import Preprocess, load_image
from gradcam_hooks.methods import METHODS, Method
from gradcam_hooks.models import LoadedModel, load_model
from gradcam_hooks.survey import LayerRow, LayerTable, layers
from gradcam_hooks.targets import AllClasses, TopK

__all__ = [
    "METHODS",
    "AllClasses",
    "DeviceError",
    "Diagnosis",
    "Explainer",
    "Explanation",
    "GradCAM",
    "GradCamHooksError",
    "GradientError",
    "ImageError",
    "InputError",
    "LayerDidNotRun",
    "LayerError",
    "LayerNotFound",
    "LayerRow",
    "LayerTable",
    "LayoutError",
    "LoadedModel",
    "Method",
    "MethodNotFound",
    "ModelError",
    "OutputError",
    "Preprocess",
    "TargetError",
    "TopK",
    "explain",
    "explainer",
    "layers",
    "load_image",
    "load_model",
]
