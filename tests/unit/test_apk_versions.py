from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.archives import apk_versions

# Each is older than the next: apk-package(5), "version".
ASCENDING = [
    "0", "0.9", "0.10", "1_alpha", "1_alpha1", "1_alpha2", "1_alpha10", "1_alpha10_p1", "1_beta", "1_pre", "1_pre3",
    "1_rc", "1_rc1", "1_rc1-r1", "1", "1-r0", "1-r1", "1-r9", "1-r10", "1~aa", "1~ab", "1~ab-r1", "1_cvs", "1_svn",
    "1_git", "1_git20240101", "1_git20240102", "1_git20240102-r1", "1_hg", "1_p", "1_p0", "1_p1", "1_p1_p2", "1_p2",
    "1a_rc1", "1a", "1a-r1", "1a_p1", "1b", "1.0", "1.0.0", "1.05", "1.1_alpha", "1.1", "1.1.1", "1.2_pre1", "1.2",
    "1.9", "1.10", "1.10.1", "2", "10", "2026.05.10", "2026.5.1", "20260501",
]  # fmt: skip


def test_the_order_is_apks() -> None:
    shuffled = ASCENDING.copy()
    random.Random(24).shuffle(shuffled)  # noqa: S311 - not for secrets
    assert sorted(shuffled, key=apk_versions.key) == ASCENDING
    assert all(map(apk_versions.is_version, ASCENDING))


@pytest.mark.parametrize(
    "text",
    ["", "a", ".1", "1.", "1..2", "1a2", "1ab", "1_", "1_gamma", "1_p-1", "1_palpha", "1-1", "1-r", "1-r1-r2",
     "1-r1_p1", "1~", "1~xyz", "1~ab_p1", "1-r1~ab", "1_p1.2", "1a.2", "1 ", "1:2", "1+dfsg", "1_P1", "1A"],
)  # fmt: skip
def test_what_is_no_version(text: str) -> None:
    assert not apk_versions.is_version(text)


@pytest.mark.parametrize(
    ("version", "operator", "other", "expected"),
    [
        ("1.2.3-r0", "=", "1.2.3-r0", True),
        ("1.2.3-r0", "=", "1.2.3", False),
        ("1.2.3-r0", "~", "1.2.3", True),
        ("1.6", "~", "1.6", True),
        ("1.6.0_pre1", "~", "1.6", True),
        ("1.6_pre1", "~", "1.6", True),
        ("1.6.9_p1", "~", "1.6", True),
        ("1.60", "~", "1.6", False),
        ("1.7", "~", "1.6", False),
        ("1", "~", "1.6", False),
        ("1.7", ">~", "1.6", True),
        ("1.5", ">~", "1.6", False),
        ("1.6.3", "<~", "1.6", True),
        ("1.7", "<~", "1.6", False),
        ("1.5", "<~", "1.6", True),
        ("1.6.1", "=~", "1.6", True),
        ("2-r1", ">", "2", True),
        ("2-r1", ">", "2-r1", False),
        ("2-r1", ">=", "2-r1", True),
        ("2_rc1", "<", "2", True),
        ("2_rc1", "<=", "2_rc1", True),
        ("2", "<=", "2_rc1", False),
    ],
)
def test_relations(version: str, operator: str, other: str, expected: bool) -> None:
    assert apk_versions.matches(version, operator, other) is expected


@given(
    st.lists(
        st.from_regex(
            r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}[ab]?(_(alpha|rc|git|p)[0-9]{0,2}){0,2}(~[0-9a-f]{1,3})?(-r[0-9])?",
            fullmatch=True,
        ),
        min_size=2, max_size=4,
    )
)  # fmt: skip
def test_exactly_one_of_older_same_and_newer(versions: list[str]) -> None:
    for left, right in itertools.combinations(versions, 2):
        signs = [sign for sign in "<=>" if apk_versions.matches(left, sign, right)]
        assert len(signs) == 1
        assert apk_versions.matches(right, {"<": ">", "=": "=", ">": "<"}[signs[0]], left)
