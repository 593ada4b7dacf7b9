"""Explain ten thousand times, by every method in turn, and tell what grows: python scripts/soak.py

Printed ten times: resident memory, objects and tensors that are alive, open files, threads, and
hooks on the networks. Fails where any but the memory is not what it was after the first round, or
where the memory has grown by more than 32 MiB since the second tenth.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gradcam_hooks as gh  # noqa: E402
from tests.support.every import CHEAP, attends, vit  # noqa: E402
from tests.support.nets import images, residual  # noqa: E402

MOST = 32 << 20
KINDS = ("objects", "tensors", "files", "threads", "hooks")


def explained(network: nn.Module, method: str) -> None:
    """One call, of which nothing is kept."""
    options: dict[str, object] = dict(CHEAP.get(method, {}))
    layer = "blocks.1" if attends(method) else "drop"
    gh.explain(network, images(1, (8, 8)), layer, method=method, target=1, **options)


def counted(networks: list[nn.Module]) -> dict[str, int]:
    """What may grow, as it is now."""
    gc.collect()
    objects = gc.get_objects()
    modules = [module for network in networks for module in network.modules()]
    hooks = [held for module in modules for name, held in vars(module).items() if "hook" in name]
    files = Path("/proc/self/fd")
    return {
        "memory": _resident(),
        "objects": len(objects),
        "tensors": sum(issubclass(type(one), torch.Tensor) for one in objects),
        "files": len(list(files.iterdir())) if files.exists() else 0,
        "threads": threading.active_count(),
        "hooks": sum(len(held) for held in hooks if isinstance(held, dict)),
    }


def _resident() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def main() -> int:
    """0: nothing grew; 1: what did is printed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    calls = parser.parse_args().calls
    torch.set_num_threads(1)
    convolving, attending = residual(), vit()
    methods = sorted(gh.METHODS)
    seen: list[dict[str, int]] = []
    for method in methods:  # what is found out once, is
        explained(attending if attends(method) else convolving, method)
    for number in range(calls):
        method = methods[number % len(methods)]
        explained(attending if attends(method) else convolving, method)
        if (number + 1) % max(calls // 10, 1) == 0:
            seen.append(counted([convolving, attending]))
            told = ", ".join(f"{name} {count:,}" for name, count in seen[-1].items())
            print(f"{number + 1:,} calls: {told}", flush=True)
    first, last = seen[min(1, len(seen) - 1)], seen[-1]
    grown = [name for name in KINDS if last[name] > first[name] + (name == "objects") * 50]
    if last["memory"] - first["memory"] > MOST:
        grown.append("memory")
    print(f"grown: {', '.join(grown) or 'nothing'}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
