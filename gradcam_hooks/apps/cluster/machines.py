"""Machines: Ray imported, its cluster reached, and seen what of it is free.

Ray itself waits for minutes where there is nobody at an address, and for good where processors are
short, and says nothing: both are looked at first. Knows Ray, and nothing of pictures.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradcam_hooks.errors import InputError

__all__ = ["AUTO", "check_address", "check_free", "connected", "imported"]

AUTO = "auto"
"""The cluster that this machine is of; where it is of none, this machine alone."""

_PATIENCE = 10.0
"""Seconds in which somebody must answer at an address."""

_MOMENT = 10.0
"""Seconds in which Ray has cleared away what a driver left that is no more."""


def imported(what: str = "explain_dataset") -> Any:
    """Ray, with its data sets.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(_absent(what)) from error
    return ray


def _absent(what: str) -> str:
    return f"{what} needs Ray: pip install 'gradcam-hooks[cluster]'"


def check_address(address: str) -> None:
    """See that Ray is there, and somebody at the address, before anything takes long.

    Args:
        address: ``"auto"``, ``"host:port"``, or ``"ray://host:port"`` of Ray's client.

    Raises:
        ImportError: Ray is not installed.
        InputError: it is no address, or nobody answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise ImportError(_absent("--cluster"))
    if address == AUTO:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(
            f"--cluster is {AUTO}, or the address of a Ray cluster's head, such as "
            f"10.0.0.1:6379; got {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise InputError(
            f"nobody answers at '{address}' ({error}): is the cluster's head running there "
            "('ray start --head' tells its address), and may this machine reach it? "
            f"--cluster {AUTO} needs no address"
        ) from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, silent and connected while the block lasts; left as it is where it was already.

    Args:
        address: as `check_address` takes it.

    Raises:
        InputError: the cluster cannot be joined.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its core writes to our terminal
    ray = imported("--cluster")
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _unheard():
            try:
                ray.init(address=address, **quiet)
            except ConnectionError:
                if address != AUTO:
                    raise
                ray.init(address="local", include_dashboard=False, **quiet)  # we are of no cluster
    except Exception as error:  # Ray raises whatever it likes where a start takes too long
        raise InputError(
            f"the cluster '{address}' cannot be joined or started: {error}; one that asks for a "
            "token needs RAY_AUTH_MODE=token here"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _unheard() -> Iterator[None]:
    """Standard error goes nowhere, that of code which is not Python's too."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def check_free(ray: Any, cpus: float, gpus: float, spare: int, ways: str) -> None:
    """See that the workers fit, with room for Ray's own work: else it waits, and says nothing.

    Args:
        ray: Ray, connected.
        cpus: processors of all workers.
        gpus: their GPUs.
        spare: processors beside the workers' that Ray's own work needs.
        ways: what takes less.

    Raises:
        InputError: they do not.
    """
    there = ray.cluster_resources()
    for name, needed, beside in (("CPU", cpus, spare), ("GPU", gpus, 0)):
        all_of_it = needed + beside if needed else 0
        free = _free(ray, name, all_of_it, there.get(name, 0))
        if free < all_of_it:
            more = f" and {beside} for Ray's own work" if beside else ""
            raise InputError(
                f"the workers need {needed:g} {name}s{more}, and {free:g} are free of "
                f"{there.get(name, 0):g}, {all_of_it - free:g} too few: take fewer ({ways}), or "
                "wait until others are done."
            )


def _free(ray: Any, name: str, needed: float, there: float) -> float:
    """What is free of a thing; what was just used is told a moment later, which is waited for."""
    until = time.monotonic() + _MOMENT
    while True:
        free = float(ray.available_resources().get(name, 0))
        if free >= needed or there < needed or time.monotonic() > until:
            return free
        time.sleep(0.2)
