"""A digest of what the measurements mean, so that a model and its callers can be held together."""

import hashlib
import json

from diabetes_platform.contract.fields import FIELDS, Field


def fingerprint(fields: tuple[Field, ...] = FIELDS) -> str:
    """Return the SHA-256 of names, kinds, units, bounds and codes, in order.

    Labels and descriptions are left out: a better wording does not retire a model.
    """
    meaning = [
        {
            "name": field.name,
            "kind": field.kind,
            "unit": field.unit,
            "minimum": field.minimum,
            "maximum": field.maximum,
            "required": field.required,
            "missing_codes": field.missing_codes,
            "allowed": field.allowed,
        }
        for field in fields
    ]
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
