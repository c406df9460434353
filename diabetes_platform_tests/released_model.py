"""A released model on the running platform, and the predictions of its stream."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from diabetes_platform.contract.bundle import MODEL_FILE, champion_key
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform_tests.storage import ROOT, Storage
from serving.tests.bundles import make_bundle


@contextmanager
def released(storage: Storage) -> Iterator[None]:
    """Provide a champion during the block: the platform's own, or a small test model."""
    store = ModelStore("s3://models", storage.s3("pipeline"))
    if store.champion() is not None:
        yield
        return
    bundle, files = make_bundle()
    champion = store.put_version(bundle, {MODEL_FILE: files[MODEL_FILE]})
    store.release(champion, expected_etag=None)
    try:
        yield
    finally:
        storage.client(ROOT).remove_object(bucket_name="models", object_name=champion_key())


def prediction_count(database: psycopg.Connection, patient_id: int) -> int:
    """Return the number of stored predictions of a patient."""
    row = database.execute(
        "SELECT count(*) FROM serving.predictions WHERE intake_id = %s", [patient_id]
    ).fetchone()
    assert row is not None
    return int(row[0])
