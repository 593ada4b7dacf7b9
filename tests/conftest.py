"""Settings of the whole suite: the cores are shared among the processes that run it."""

from __future__ import annotations

import os

import torch


def pytest_configure() -> None:
    """Give each of pytest-xdist's processes its share of the cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
