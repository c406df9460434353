"""Which released version comes back when the champion is rolled back. Pure."""

from collections.abc import Collection, Sequence


class RollbackError(ValueError):
    """There is no such version to put back; the message names given and allowed."""


def to_put_back(
    released: Sequence[str], current: str | None, withdrawn: Collection[str], asked: str | None
) -> str:
    """Return the version that follows a rollback: the newest before `current`, or `asked`.

    `released` are the champions of the past, newest first. One that was itself withdrawn comes
    back only where it is asked for by name. Raises RollbackError where there is none.
    """
    if current is None:
        raise RollbackError("no model was released yet: nothing to roll back")
    before = [version for version in dict.fromkeys(released) if version != current]
    if asked is not None:
        if asked not in before:
            raise RollbackError(f"version: given {asked}, allowed {', '.join(before) or 'none'}")
        return asked
    usable = [version for version in before if version not in withdrawn]
    if not usable:
        raise RollbackError(f"no champion before {current} to put back")
    return usable[0]
