"""The releases in Dagster's event log, which a rollback may choose from."""

import dagster as dg

from diabetes_platform.defs.model.champion import releases_in_event_log
from diabetes_platform.orchestration.describe import CHAMPION

RELEASES = 101
"""One more than a page of the event log."""


def test_reads_every_release_newest_first() -> None:
    versions = [str(number) for number in range(RELEASES)]
    with dg.DagsterInstance.ephemeral() as instance:
        for version in versions:
            metadata = {"model_version": version}
            instance.report_runless_asset_event(
                dg.AssetMaterialization(CHAMPION, metadata=metadata)
            )
        assert list(releases_in_event_log(instance)) == versions[::-1]
