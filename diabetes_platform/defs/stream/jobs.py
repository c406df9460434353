"""The jobs that ingest the stream's topics."""

import dagster as dg

from diabetes_platform.defs.stream.assets import STREAM_ASSETS
from diabetes_platform.orchestration.describe import GRAPH_TAG

stream_jobs = [
    dg.define_asset_job(
        stream_asset.job,
        selection=dg.AssetSelection.assets(stream_asset.key).without_checks(),
        description=f"Ingests {stream_asset.topic}; requested by `{stream_asset.sensor}`.",
        executor_def=dg.in_process_executor,
        # The sensor requests the run again, from the offsets that the table has by then.
        tags={GRAPH_TAG: "stream", "dagster/max_retries": "0"},
    )
    for stream_asset in STREAM_ASSETS
]
