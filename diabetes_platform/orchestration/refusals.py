"""Errors that a second try cannot mend, told to Dagster as one message and without retries."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from diabetes_platform.cleaning.batch_tables import CleaningError
from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.s3 import StorageRefusedError
from diabetes_platform.lake.delta import LakeError
from diabetes_platform.lake.source_files import SourceError
from diabetes_platform.warehouse.promotion import PromotionRefusedError

REFUSALS: tuple[type[Exception], ...] = (
    StorageRefusedError,
    SourceError,
    LakeError,
    CleaningError,
    PromotionRefusedError,
    BundleError,
)


@contextmanager
def refusals(*more: type[Exception]) -> Iterator[None]:
    """Turn a refusal into dg.Failure with its message; every other error passes, to be retried."""
    try:
        yield
    except (*REFUSALS, *more) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
