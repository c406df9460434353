"""What Dagster is told of `serving/patients`, by a run and by a rollback outside one."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.batch.serving import rollback_event
from diabetes_platform.orchestration.describe import SERVING
from diabetes_platform.warehouse.promotion import rollback
from diabetes_platform_tests.defs.conftest import Platform


def newest(instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(SERVING)
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


@pytest.mark.slow
@pytest.mark.integration
def test_a_rollback_is_told_as_the_run_that_promoted_that_version_told_it(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    promoted = newest(serving.instance)
    serving.run(pima_with("without_first", lambda row, n: row if n else None))
    later = newest(serving.instance)
    assert promoted.tags is not None
    assert later.tags is not None

    promotion = rollback(serving.url)
    serving.instance.report_runless_asset_event(rollback_event(promotion))

    told = newest(serving.instance)
    assert told.tags is not None
    version = "dagster/data_version"
    assert told.tags[version] == promoted.tags[version] != later.tags[version]
    assert told.metadata.keys() == promoted.metadata.keys()
    assert told.metadata["batch_id"] == promoted.metadata["batch_id"]
    assert told.metadata["previous_version"] == later.metadata["version"]
    assert told.description == f"rolled back from version {later.metadata['version'].value}"
