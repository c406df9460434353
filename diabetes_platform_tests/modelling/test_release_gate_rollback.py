"""The version that a rollback restores."""

import pytest

from diabetes_platform.modelling.release_gate import RollbackError, rollback_target

RELEASED = ["third", "third", "second", "second", "first"]


@pytest.mark.parametrize(
    ("says", "current", "withdrawn", "requested", "back"),
    [
        ("the previous version", "third", set(), None, "second"),
        ("the version before a withdrawn one", "second", {"third"}, None, "first"),
        ("a requested version", "third", set(), "first", "first"),
        ("a withdrawn version on request", "second", {"third"}, "third", "third"),
    ],
)
def test_selects_the_version_to_restore(
    says: str, current: str, withdrawn: set[str], requested: str | None, back: str
) -> None:
    released = ["second", *RELEASED] if current == "second" else RELEASED
    assert rollback_target(released, current, withdrawn, requested) == back, says


@pytest.mark.parametrize(
    ("current", "released", "requested", "message"),
    [
        (None, [], None, "no model was released yet"),
        ("first", ["first", "first"], None, "no earlier champion than first"),
        ("first", ["first", "gone"], None, "no earlier champion than first"),
        (
            "second",
            ["second", "first"],
            "other",
            "other was not released before; allowed: first",
        ),
        (
            "second",
            ["second", "first"],
            "second",
            "second was not released before; allowed: first",
        ),
        ("first", ["first"], "other", "other was not released before; allowed: none"),
    ],
)
def test_rejects_a_version_that_cannot_be_restored(
    current: str | None, released: list[str], requested: str | None, message: str
) -> None:
    with pytest.raises(RollbackError, match=message):
        rollback_target(released, current, {"gone"}, requested)
