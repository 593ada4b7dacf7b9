"""All that is public, in one place: what ``gradcam_hooks.NAME`` is.

`gradcam_hooks` looks here when a name is first asked of it, so that importing the package costs
nothing, and the command's help does not wait for PyTorch.
"""

from __future__ import annotations

from gradcam_hooks.apps.cluster import explain_dataset
from gradcam_hooks.apps.reported import Report, report
from gradcam_hooks.auditing import Audit, Strategy, audit
from gradcam_hooks.comparing import compare
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
    MethodError,
    MethodNotFound,
    ModelError,
    OptionError,
    OutputError,
    ProbabilityWarning,
    TargetError,
)
from gradcam_hooks.evaluating import Evaluation, evaluate
from gradcam_hooks.explainers import Explainer, explain, explainer, explainer_class, named
from gradcam_hooks.explainers.named import *  # noqa: F403  (each method's class)
from gradcam_hooks.images import Preprocess, load_image
from gradcam_hooks.images.scan import Scan
from gradcam_hooks.images.volumes import Volumes, load_scan
from gradcam_hooks.layout.table import LayerRow, LayerTable, layers
from gradcam_hooks.methods import METHODS, Method, method
from gradcam_hooks.models import LoadedModel, load_model
from gradcam_hooks.results.checked import Check
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.drawing import CLASSIC, Axes, Style
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.samplers import Augment, Integrate, Noise
from gradcam_hooks.stream.run import explain_many
from gradcam_hooks.targets import (
    AllClasses,
    Binary,
    Box,
    Difference,
    Finer,
    LogProbability,
    Probability,
    Regression,
    ReST,
    Segment,
    Similarity,
    Token,
    TopK,
)
from gradcam_hooks.trust import Evidence  # which hands in what Explanation.check asks

__all__ = [
    "CLASSIC",
    "METHODS",
    "AllClasses",
    "Audit",
    "Augment",
    "Axes",
    "Binary",
    "Box",
    "Check",
    "Comparison",
    "DeviceError",
    "Diagnosis",
    "Difference",
    "Evaluation",
    "Evidence",
    "Explainer",
    "Explanation",
    "Finer",
    "GradCamHooksError",
    "GradientError",
    "ImageError",
    "InputError",
    "Integrate",
    "LayerDidNotRun",
    "LayerError",
    "LayerNotFound",
    "LayerRow",
    "LayerTable",
    "LayoutError",
    "LoadedModel",
    "LogProbability",
    "Method",
    "MethodError",
    "MethodNotFound",
    "ModelError",
    "Noise",
    "OptionError",
    "OutputError",
    "Preprocess",
    "Probability",
    "ProbabilityWarning",
    "ReST",
    "Regression",
    "Report",
    "Scan",
    "Segment",
    "Similarity",
    "Strategy",
    "Style",
    "TargetError",
    "Token",
    "TopK",
    "Volumes",
    "audit",
    "compare",
    "evaluate",
    "explain",
    "explain_dataset",
    "explain_many",
    "explainer",
    "explainer_class",
    "layers",
    "load_image",
    "load_model",
    "load_scan",
    "method",
    "report",
]
__all__ += named.__all__
