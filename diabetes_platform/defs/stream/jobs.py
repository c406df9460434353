"""The jobs of the stream's assets."""

import dagster as dg

from diabetes_platform.defs.stream.feeds import FEEDS

stream_jobs = [
    dg.define_asset_job(
        feed.job,
        selection=dg.AssetSelection.assets(feed.key).without_checks(),
        description=f"{feed.topic} into the lake; the sensor `{feed.sensor}` asks.",
        executor_def=dg.in_process_executor,
        # The sensor itself asks again: it knows what the table has by then.
        tags={"platform/graph": "stream", "dagster/max_retries": "0"},
    )
    for feed in FEEDS
]
