"""`python grown_platform.py LAKE MODELS WAREHOUSE_URL`: batch and ingest with one more field.

A program for a copy of the project (`grown_contract.py`): it opens stores from before the field,
writes records with and without it, and prints the field's values in every store as JSON.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.compute as pc
from psycopg import sql

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics, quarantine_batch
from diabetes_platform.contract.bundle import open_bundle
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS, FIELDS_BY_NAME
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STAGING_PATIENTS,
    STATISTICS_PATIENTS,
    STREAM_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetCommit, OffsetRange
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform.modelling.classifier import predict_proba
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.modelling.training_set import training_set_from_arrow
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform.streaming.rows import PATIENTS, patient_row
from diabetes_platform.streaming.topic import TopicMessage, TopicPartitionOffset
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.promotion import promote
from diabetes_platform.warehouse.staging import record_validation, stage
from diabetes_platform.warehouse.training_rows import read_training_rows

NAME = FEATURE_NAMES[-1]
"""The field that was added last."""
ROWS = 600
DAY = date(2026, 11, 30)
IMAGE = {
    "received_at": "2026-11-30T12:00:00Z",
    **{field.name: field.example for field in FIELDS if field.name not in {NAME, "outcome"}},
    "outcome": 1,
    "outcome_recorded_at": "2026-11-30T12:00:01Z",
    "op": "u",
    "changed_ms": 1_796_040_000_000,
    "captured_ms": 1_796_040_000_010,
    "judged_ms": 1_796_040_000_020,
}


def write_source(path: Path, *, with_field: bool) -> str:
    """Write the first Pima patients, with the field in every second row or without its column."""
    with PIMA_CSV.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:ROWS]
    names = [*rows[0], FIELDS_BY_NAME[NAME].alias] if with_field else list(rows[0])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for number, row in enumerate(rows):
            value = f"{5 + number % 40 / 10:.1f}" if number % 2 else ""
            writer.writerow(row | ({FIELDS_BY_NAME[NAME].alias: value} if with_field else {}))
    return str(path)


def promote_batch(lake: Lake, warehouse: str, raw: RawBatch, docs: Path) -> list[str]:
    """Clean, stage, validate and promote a batch; return the names of failed checks."""
    tables = (RAW_PATIENTS, STATISTICS_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS)
    stored, statistics, cleaned, quarantine = (lake.table(table) for table in tables)
    with spark_session() as spark:
        fit_statistics(spark, stored, raw.content_hash, statistics)
        result = clean_batch(spark, stored, raw.content_hash, statistics, cleaned)
    quarantine_batch(cleaned, raw.batch_id, quarantine)
    columns = STAGING_PATIENTS.column_names
    rows = lake.stream(CLEANED_PATIENTS, columns, {"verdict": "accepted"}, result.delta_version)
    staged = stage(
        warehouse,
        rows,
        batch_id=raw.batch_id,
        delta_version=result.delta_version,
        expected_rows=result.accepted,
    )
    report = validate_staging(warehouse, docs, f"run-{staged.version}")
    failed = [outcome for outcome in report.outcomes if not outcome.passed]
    blocking = tuple(outcome.name for outcome in failed if outcome.severity == "error")
    record_validation(warehouse, staged, run_name=f"run-{staged.version}", failed=blocking)
    promote(warehouse, staged)
    return sorted(outcome.name for outcome in failed)


def append_patients(lake: Lake) -> None:
    """Ingest two images of the sink topic: one from before the field, one with it."""
    rows = []
    for offset, extra in enumerate(({}, {NAME: 6.5})):
        row_id = 101 + offset
        image = {"id": row_id, "lsn": 9000 + offset, **IMAGE, **extra}
        position = TopicPartitionOffset("sink", "grown", 0, offset)
        key = json.dumps({"id": row_id}).encode()
        message = TopicMessage(position, 1_796_040_001_000, key, json.dumps(image).encode())
        rows.append(patient_row(message, DAY))
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    commit = OffsetCommit("sink", "grown", DAY.isoformat(), (OffsetRange(0, 0, 1),))
    table.append(PATIENTS.to_arrow(rows), commit)


def counts(values: Iterable[object]) -> dict[str, int]:
    """Count the values of the field: those that are missing and the others."""
    present = [value is not None for value in values]
    return {"missing": present.count(False), "present": present.count(True)}


def main(root: str, models: str, warehouse: str) -> None:
    """Open the stores, write to them, and print what they hold."""
    lake, result = Lake(root), dict[str, object]()
    upgrade(warehouse)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        extended = ingest(lake, write_source(folder / "grown.csv", with_field=True))
        earlier = ingest(lake, write_source(folder / "earlier.csv", with_field=False))
        raw = lake.table(RAW_PATIENTS).open().to_pyarrow_table(columns=["content_hash", NAME])
        for name, batch in (("grown", extended), ("earlier", earlier)):
            rows = raw.filter(pc.field("content_hash") == batch.content_hash)
            result[f"raw {name}"] = counts(rows[NAME].to_pylist())
        result["raw"] = counts(raw[NAME].to_pylist())
        result["failed earlier"] = promote_batch(lake, warehouse, earlier, folder)
        result["failed grown"] = promote_batch(lake, warehouse, extended, folder)
    append_patients(lake)
    patients = lake.table(STREAM_PATIENTS).open().to_pyarrow_table(columns=["id", NAME])
    result["stream"] = counts(patients[NAME].to_pylist())
    labels = lake.table(LABELLED_PATIENTS)
    update_labels(lake)
    result["labels"] = counts(labels.open().to_pyarrow_table(columns=[NAME])[NAME].to_pylist())
    with psycopg.connect(warehouse) as connection:
        connection.execute("SET ROLE api")
        insert = sql.SQL(
            "INSERT INTO public.diabetes_new (pregnancies, diabetes_pedigree_function, age, {})"
            " VALUES (1, 0.5, 30, 6.5)"
        )
        connection.execute(insert.format(sql.Identifier(NAME)))
        connection.execute("RESET ROLE")
        for relation in ("public.diabetes_new", "serving.patients", "serving.patient_versions"):
            select = sql.SQL("SELECT {} FROM {}").format(
                sql.Identifier(NAME), sql.Identifier(*relation.split("."))
            )
            result[relation] = counts(value for (value,) in connection.execute(select))
    training_set = training_set_from_arrow(read_training_rows(warehouse))
    result["training set"] = counts(
        None if np.isnan(value) else value for value in training_set.features[:, -1]
    )
    champion = ModelStore(models).champion()
    assert champion is not None
    model = ModelStore(models).read(champion.champion)
    open_bundle(model.pointer, model.files)
    probabilities = predict_proba(model, training_set.features)
    result["model features"] = list(model.bundle.features)
    result["scored"] = int(np.isfinite(probabilities).sum())
    print(json.dumps(result))  # noqa: T201 - a program's result


if __name__ == "__main__":
    main(*sys.argv[1:])
