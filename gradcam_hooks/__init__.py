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

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import gradcam_hooks.stopping  # noqa: F401  (first of all: PyTorch takes its time)

_PUBLIC = "gradcam_hooks.public"

if TYPE_CHECKING:
    from gradcam_hooks import metrics as metrics
    from gradcam_hooks.explainers.named import *  # noqa: F403
    from gradcam_hooks.public import *  # noqa: F403

    __version__: str
else:  # so that type checkers know a name that is none

    def __getattr__(name: str) -> object:
        """All public names, when the first of them is asked for; the metrics by themselves."""
        if name == "metrics":
            return import_module("gradcam_hooks.metrics")
        if not name.startswith("__") or name == "__all__":
            public = import_module(_PUBLIC)
            globals().update({one: getattr(public, one) for one in public.__all__})
            globals()["__all__"] = public.__all__
        if name == "__version__":
            globals()[name] = import_module("gradcam_hooks.version").version()
        if name not in globals():
            # Python itself then adds the nearest name.
            here = sys.modules[__name__]
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}", name=name, obj=here
            )
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), "metrics", *import_module(_PUBLIC).__all__})
