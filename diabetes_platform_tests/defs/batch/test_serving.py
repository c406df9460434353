"""The materializations of `serving/patients` by a run and by a rollback outside one."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.batch.serving import rollback_event
from diabetes_platform.orchestration.describe import SERVING
from diabetes_platform.warehouse.promotion import rollback
from diabetes_platform_tests.defs.conftest import Platform


def latest_materialization(instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(SERVING)
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


@pytest.mark.slow
@pytest.mark.integration
def test_a_rollback_reports_the_metadata_of_the_promotion(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    promoted = latest_materialization(serving.instance)
    serving.run(pima_with("without_first", lambda row, n: row if n else None))
    later = latest_materialization(serving.instance)
    assert promoted.tags is not None
    assert later.tags is not None

    promotion = rollback(serving.url)
    serving.instance.report_runless_asset_event(rollback_event(promotion))

    rolled_back = latest_materialization(serving.instance)
    assert rolled_back.tags is not None
    version = "dagster/data_version"
    assert rolled_back.tags[version] == promoted.tags[version] != later.tags[version]
    assert rolled_back.metadata.keys() == promoted.metadata.keys()
    assert rolled_back.metadata["batch_id"] == promoted.metadata["batch_id"]
    assert rolled_back.metadata["previous_version"] == later.metadata["version"]
    assert rolled_back.description == f"rolled back from version {later.metadata['version'].value}"
