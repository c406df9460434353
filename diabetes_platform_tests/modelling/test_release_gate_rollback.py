"""Which champion comes back."""

import pytest

from diabetes_platform.modelling.release_gate import RollbackError, to_put_back

RELEASED = ["third", "third", "second", "second", "first"]


@pytest.mark.parametrize(
    ("says", "current", "withdrawn", "asked", "back"),
    [
        ("the one before", "third", set(), None, "second"),
        ("after one rollback the one before that", "second", {"third"}, None, "first"),
        ("one by name", "third", set(), "first", "first"),
        ("a withdrawn one only by name", "second", {"third"}, "third", "third"),
    ],
)
def test_the_version_that_comes_back(
    says: str, current: str, withdrawn: set[str], asked: str | None, back: str
) -> None:
    released = ["second", *RELEASED] if current == "second" else RELEASED
    assert to_put_back(released, current, withdrawn, asked) == back, says


@pytest.mark.parametrize(
    ("current", "released", "asked", "message"),
    [
        (None, [], None, "no model was released yet"),
        ("first", ["first", "first"], None, "no champion before first to put back"),
        ("first", ["first", "gone"], None, "no champion before first to put back"),
        ("second", ["second", "first"], "other", "version: given other, allowed first"),
        ("second", ["second", "first"], "second", "version: given second, allowed first"),
        ("first", ["first"], "other", "version: given other, allowed none"),
    ],
)
def test_what_is_not_there_cannot_come_back(
    current: str | None, released: list[str], asked: str | None, message: str
) -> None:
    with pytest.raises(RollbackError, match=message):
        to_put_back(released, current, {"gone"}, asked)
