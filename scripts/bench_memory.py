"""The peak memory of one way, told by the process that used it: WAY NETWORK LAYER BATCH.

Prints ``{"peak": bytes, "imports": bytes}``: the process's own high-water mark, and what it held
after it had imported PyTorch, torchvision and the way's library.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import torchvision  # noqa: F401  (part of every way's imports)
from bench_price import Case
from bench_ways import opened

LIBRARIES = {
    "gradcam_hooks": "gradcam_hooks",
    "grad-cam": "pytorch_grad_cam",
    "torchcam": "torchcam.methods",
    "captum": "captum.attr",
}


def status(key: str) -> int:
    """A line of Linux's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise SystemExit(f"/proc/self/status has no {key}: memory is measured on Linux only.")


def main() -> None:
    way, network, layer, batch = sys.argv[1:]
    if way in LIBRARIES:
        import_module(LIBRARIES[way])
    imports = status("VmRSS")
    case = Case(network, layer, int(batch))
    model, images = case.build(), case.images()
    with opened(way, model, layer) as explain:
        for _ in range(2):
            explain(images, list(range(case.batch)))
    print(json.dumps({"peak": status("VmHWM"), "imports": imports}))


if __name__ == "__main__":
    main()
