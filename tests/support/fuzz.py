"""Damage done to files, drawn by Hypothesis; FUZZ_EXAMPLES=5000 tries more of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["damage", "hurt", "many", "outcome"]

_T = TypeVar("_T")

many = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

damage = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
        st.tuples(st.just("set"), st.floats(0, 1), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])),
        st.tuples(st.just("cut"), st.floats(0, 1), st.integers(1, 64)),
        st.tuples(st.just("end"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("more"), st.floats(0, 1), st.integers(1, 255)),
    ),
    min_size=1,
    max_size=4,
)
"""A few bits turned, bytes set, taken out or put in, or the end cut off."""


def hurt(whole: bytes, wounds: list[tuple[str, float, int]]) -> bytes:
    """The bytes with that damage; most of it in their first half, where the heads are."""
    data = bytearray(whole)
    for kind, where, value in wounds:
        if not data:
            break
        at = min(int(where * where * len(data)), len(data) - 1)
        if kind == "flip":
            data[at] ^= 1 << value
        elif kind == "set":
            data[at : at + 4] = bytes([value]) * 4
        elif kind == "cut":
            del data[at : at + value]
        elif kind == "end":
            del data[at:]
        else:
            data[at:at] = bytes([value]) * value
    return bytes(data)


def outcome(
    error: type[Exception], call: Callable[..., _T], *words: object
) -> tuple[_T | None, str]:
    """What a call gave; or nothing, and what its error says, which names the file."""
    try:
        return call(*words), ""
    except error as told:
        if str(words[0]) not in str(told):
            raise AssertionError(f"no word on '{words[0]}'") from told
        return None, str(told)
