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

from gradcam_hooks.cams import (
    FEM,
    EigenCAM,
    EigenGradCAM,
    ElementWiseCAM,
    GradCAM,
    GradCAMPlus,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    SegEigenCAM,
    XGradCAM,
    explain,
    explainer,
)
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
from gradcam_hooks.explainers import Explainer
from gradcam_hooks.explanation import Diagnosis, Explanation
from gradcam_hooks.images import Preprocess, load_image
from gradcam_hooks.methods import METHODS, Method
from gradcam_hooks.models import LoadedModel, load_model
from gradcam_hooks.survey import LayerRow, LayerTable, layers
from gradcam_hooks.targets import (
    AllClasses,
    Binary,
    Box,
    Difference,
    Regression,
    Segment,
    Similarity,
    TopK,
)

__all__ = [
    "FEM",
    "METHODS",
    "AllClasses",
    "Binary",
    "Box",
    "DeviceError",
    "Diagnosis",
    "Difference",
    "EigenCAM",
    "EigenGradCAM",
    "ElementWiseCAM",
    "Explainer",
    "Explanation",
    "GradCAM",
    "GradCAMPlus",
    "GradCAMPlusPlus",
    "GradCamHooksError",
    "GradientError",
    "HiResCAM",
    "ImageError",
    "InputError",
    "LayerCAM",
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
    "Regression",
    "SegEigenCAM",
    "Segment",
    "Similarity",
    "TargetError",
    "TopK",
    "XGradCAM",
    "explain",
    "explainer",
    "layers",
    "load_image",
    "load_model",
]
