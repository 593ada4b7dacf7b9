"""The checks of what is passed: which values are legal at the ends, and what is said of others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.checks import check_count, check_flag, check_one_of, check_range, check_seed


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_a_count_is_any_whole_number(value: object) -> None:
    found = check_count(value, "steps")
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize(
    "value", [0, -1, True, 1.0, "1", None, np.bool_(1), torch.tensor(1.0), torch.tensor(True)]
)
def test_what_is_no_count(value: object) -> None:
    with pytest.raises(gh.OptionError, match=r"^steps= is a whole number from 1 up, not "):
        check_count(value, "steps")


def test_a_count_from_elsewhere_in_the_words_and_the_kind_of_the_caller() -> None:
    assert check_count(0, "x", least=0) == 0
    with pytest.raises(gh.TargetError, match=r"^Box\(index=\) is a whole number from 2 up, not 1"):
        check_count(1, "Box(index=)", least=2, error=gh.TargetError)


INTERVALS = {  # of 0 and 1: is 0 legal, is 1, and the words
    "[]": (True, True, "from 0 to 1"),
    "[)": (True, False, "from 0 up to under 1"),
    "(]": (False, True, "above 0 and 1 at most"),
    "()": (False, False, "between 0 and 1"),
}


@pytest.mark.parametrize("ends", INTERVALS)
def test_the_ends_of_a_range(ends: str) -> None:
    *legal, words = INTERVALS[ends]
    for value, good in [(0, legal[0]), (1.0, legal[1]), (Fraction(1, 2), True), (1.5, False),
                        (-1e-9, False), (float("nan"), False), (True, False), ("0.5", False),
                        (np.float32(0.5), True), (None, False)]:  # fmt: skip
        if good:
            check_range(value, "share", 0, 1, ends=ends)
        else:
            with pytest.raises(gh.OptionError) as told:
                check_range(value, "share", 0, 1, ends=ends)
            assert str(told.value) == f"share= is a number {words}, not {value!r}."


@pytest.mark.parametrize(("ends", "words"), [("[]", "from 0 up"), ("(]", "above 0")])
def test_a_range_without_an_upper_end(ends: str, words: str) -> None:
    check_range(1e300, "lr", 0, ends=ends)
    with pytest.raises(gh.InputError) as told:
        check_range(float("inf"), "lr", 0, ends=ends, what="a rate,", error=gh.InputError)
    assert str(told.value) == f"lr= is a rate, {words}, not inf."


def test_flags_and_words() -> None:
    check_flag(False, "divide")
    check_one_of("dot", "how", ("dot", "cosine"))
    with pytest.raises(gh.OptionError, match=r"^divide= is True or False, not 1\.$"):
        check_flag(1, "divide")
    with pytest.raises(gh.TargetError, match=r"^how= is one of 'dot', 'cosine', not 'dots'\.$"):
        check_one_of("dots", "how", ("dot", "cosine"), error=gh.TargetError)


@pytest.mark.parametrize("seed", [-1, 1 << 62, 10**30, 1.5, True])
def test_a_seed_is_one_that_generators_take(seed: object) -> None:
    assert check_seed(20260101) == 20260101
    with pytest.raises(gh.OptionError, match=r"^seed= is a whole number"):
        check_seed(seed)
