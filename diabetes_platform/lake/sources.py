"""What a source of patients must be: the contract's columns, or one error that refuses it.

A file that cannot be read as this table is refused; a bad *value* is not: cleaning judges it.
Messages reach logs, so none may hold a patient's value.
"""

import re

import pyarrow as pa

from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS_BY_ALIAS
from diabetes_platform.contract.validation import NUMBER_PATTERN

TEXT_SCHEMA = pa.schema([(name, pa.string()) for name in FIELD_NAMES])
ALLOWED_HEADER = ", ".join(FIELD_NAMES)
_NUMBER = re.compile(NUMBER_PATTERN)
_SHOWN_CHARACTERS = 40


class SourceError(ValueError):
    """A source that is no table of patients: where, what was given, what is allowed.

    It is raised outside the handler of the error behind it, and so has neither cause nor context:
    Arrow's errors quote whole rows, HTTP errors whole URLs, and both would follow it into logs.
    """


def column_order(header: list[str], name: str) -> list[str]:
    """Map a header of field names or flat names, in any order, to field names."""
    names = [FIELDS_BY_ALIAS[h].name if h in FIELDS_BY_ALIAS else h for h in header]
    _refuse_numbers(header, name)
    for position, column in enumerate(names, start=1):
        where = f"{name}: line 1, column {position}: given {_shown(header[position - 1])}"
        if column not in FIELD_NAMES:
            raise SourceError(f"{where}, allowed one of {ALLOWED_HEADER}")
        if column in names[: position - 1]:
            raise SourceError(f"{where} a second time, allowed once")
    absent = [field for field in FIELD_NAMES if field not in names]
    if absent:
        raise SourceError(
            f"{name}: line 1, column {len(header) + 1}: given {len(header)} columns without "
            f"{', '.join(absent)}, allowed {len(FIELD_NAMES)}: {ALLOWED_HEADER}"
        )
    return names


def unreadable(error: Exception) -> bool:
    """Whether Arrow's `error` means that the content is at fault, not the disk or the memory.

    An OSError of the operating system has a number; Arrow's own, of a damaged page, has none.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, pa.ArrowException | UnicodeDecodeError) and not isinstance(
        error, MemoryError | pa.ArrowCancelled
    )


def _refuse_numbers(header: list[str], name: str) -> None:
    for position, cell in enumerate(header, start=1):
        if _NUMBER.fullmatch(cell):
            raise SourceError(
                f"{name}: line 1, column {position}: given a number, so the file seems to have no "
                f"header, allowed the header {ALLOWED_HEADER}"
            )


def _shown(cell: str) -> str:
    """Show what can only be a name: `6;148;72` is a row of values in another dialect."""
    if cell.isidentifier() or not any(character.isdigit() for character in cell):
        return repr(cell[:_SHOWN_CHARACTERS])
    return "text that is no name"
