"""Patients whose changes the stream rejected, by the dead letters in `stream/rejected`."""

import re
from datetime import UTC, datetime

import pyarrow.compute as pc

from diabetes_platform.contract.change_events import LARGEST_BIGINT
from diabetes_platform.contract.tables import STREAM_REJECTED
from diabetes_platform.lake.delta import Lake

_EPOCH = datetime.fromtimestamp(0, UTC)
_COLUMNS = ("message_key", "rejected_at", "written_at")
_KEY = re.compile(rb'\s*\{\s*"id"\s*:\s*([0-9]{1,19})\s*\}\s*')


def rejected_patients(lake: Lake, since: datetime = _EPOCH) -> dict[int, datetime]:
    """Return, by patient, the time of the newest rejection from the day of `since` on.

    A change that was made later is not covered by it. Dead letters without a patient's key are left
    out, and no measurement is read. The result is empty without a table. Raises StorageError.
    """
    letters = lake.days_since(STREAM_REJECTED, since, _COLUMNS)
    times = pc.coalesce(letters["rejected_at"], letters["written_at"]).to_pylist()
    newest: dict[int, datetime] = {}
    for key, time in zip(letters["message_key"].to_pylist(), times, strict=True):
        match = _KEY.fullmatch(key or b"")
        if match and (patient := int(match[1])) <= LARGEST_BIGINT:
            newest[patient] = max(time, newest.get(patient, time))
    return newest


def rejected_text(patients: int) -> str:
    """Return the number of rejected patients and where their dead letters are."""
    return f"{patients:,} patients were rejected by the stream: see stream/rejected"
