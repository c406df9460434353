"""Rows that every engine must judge alike: each field with every kind of value a source can send.

Pure data made from the contract, so that Spark, SQL, pandera, pydantic and the contract's own
validator are held to the same verdict on the same rows. Values are text as received, or None.
"""

from typing import NamedTuple

from diabetes_platform.contract.fields import FIELDS, Field

Row = dict[str, str | None]


class AgreementRow(NamedTuple):
    """One row under a name that says what is tried: `glucose: just above the maximum`."""

    name: str
    row: Row


ORDINARY: Row = {field.name: format(field.example, "g") for field in FIELDS}
"""A row without fault; each case changes one of its values."""

EVERYWHERE: dict[str, str | None] = {
    "null": None,
    "empty": "",
    "only spaces": "   ",
    "NaN": "NaN",
    "nan in lower case": "nan",
    "signed NaN": "-NaN",
    "inf": "inf",
    "minus inf": "-inf",
    "plus Infinity": "+Infinity",
    "padded inf": " inf ",
    "1e308": "1e308",
    "minus 1e308": "-1e308",
    "1e999, beyond a double": "1e999",
    "minus 1e999": "-1e999",
    "1e-999, rounds to zero": "1e-999",
    "4e-324, the smallest double": "4e-324",
    "text": "high",
    "letters after a number": "7mg",
    "Java double literal": "1d",
    "Java float literal": "1F",
    "hexadecimal float": "0x1p3",
    "hexadecimal integer": "0x10",
    "padded with spaces": " 7 ",
    "padded with a tab": "\t7",
    "followed by a newline": "7\n",
    "preceded by a newline": "\n7",
    "followed by a carriage return": "7\r",
    "followed by a no-break space": "7\u00a0",
    "followed by a line separator": "7\u2028",
    "space inside": "7 7",
    "underscores": "1_000",
    "thousands comma": "1,000",
    "decimal comma": "7,5",
    "full-width digits": "\uff11\uff12",
    "Arabic-Indic digits": "\u0661\u0662",
    "superscript digit": "7\u00b2",
    "typographic minus": "\u22127",
    "decimal": "0.5",
    "decimal in an integer's place": "3.7",
    "whole number written as a decimal": "7.0",
    "leading point": ".5",
    "trailing point": "7.",
    "point alone": ".",
    "two points": "1.2.3",
    "sign alone": "-",
    "two signs": "--7",
    "plus sign": "+7",
    "leading zeros": "007",
    "exponent": "7e1",
    "capital exponent with sign": "7.0E+1",
    "exponent without digits": "7e",
    "exponent without mantissa": "e5",
    "decimal exponent": "7e1.5",
    "zero": "0",
    "zero as a decimal": "0.0",
    "minus zero": "-0",
    "minus zero as a decimal": "-0.0",
    "zero with an exponent": "0e5",
    "negative": "-7",
    "700": "700",
    "beyond 32 bits": "2147483648",
    "beyond 64 bits": "9223372036854775808",
    "quoted": '"7"',
    "percent": "7%",
    "boolean": "true",
    "NULL as text": "NULL",
    "NA": "NA",
    "na in lower case": "na",
    "padded N/A": " N/A ",
    "spreadsheet #N/A": "#N/A",
    "pandas <NA>": "<NA>",
    "Python None": "None",
    "null in lower case": "null",
    "PostgreSQL COPY": r"\N",
    "question mark": "?",
    "dashes": "--",
    "em dash": "\u2014",
    "words": "Not measured",
    "unknown with a Kelvin sign": "un\u212anown",
    "missing with a dotted capital I": "M\u0130SSING",
    "NA inside": "NA7",
    "NA followed by a newline": "NA\n",
    "N A": "N A",
}


def agreement_rows() -> list[AgreementRow]:
    """Return every case: an ordinary row, each field with each value, and rows with many faults."""
    rows = [AgreementRow("an ordinary row", dict(ORDINARY))]
    rows += [
        AgreementRow(f"{field.name}: {kind}", {**ORDINARY, field.name: value})
        for field in FIELDS
        for kind, value in {**EVERYWHERE, **_bounds(field)}.items()
    ]
    rows += [
        AgreementRow(f"every field: {kind}", dict.fromkeys(ORDINARY, value))
        for kind, value in EVERYWHERE.items()
    ]
    rows.append(AgreementRow("every field: below its minimum", _all_at("just below the minimum")))
    rows.append(AgreementRow("every field: above its maximum", _all_at("just above the maximum")))
    return rows


def _bounds(field: Field) -> dict[str, str]:
    values = {
        "minimum": field.minimum,
        "maximum": field.maximum,
        "just below the minimum": field.minimum - field.step,
        "just above the maximum": field.maximum + field.step,
        "between steps below the minimum": field.minimum - field.step / 2,
        "between steps above the maximum": field.maximum + field.step / 2,
    }
    values |= {f"code for missing {code:g}": code for code in field.missing_codes}
    return {name: repr(value) for name, value in values.items()}


def _all_at(bound: str) -> Row:
    return {field.name: _bounds(field)[bound] for field in FIELDS}
