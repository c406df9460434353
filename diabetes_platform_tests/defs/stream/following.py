"""The stream's sensor and its job, ticked and run by a test in the daemon's place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from diabetes_platform.defs.stream.assets import build_stream_assets
from diabetes_platform.defs.stream.feeds import PATIENTS_FEED, Feed
from diabetes_platform.defs.stream.jobs import stream_jobs
from diabetes_platform.defs.stream.sensors import build_increments
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import (
    Record,
    send,
)


@dataclass
class Following:
    """The sensor and its job, ticked by hand as the daemon ticks them."""

    settings: PlatformSettings
    instance: dg.DagsterInstance
    kafka: Kafka
    feed: Feed = PATIENTS_FEED
    cursor: str | None = None
    launched: dict[str, bool] = field(default_factory=dict)
    observed: list[dg.AssetObservation] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return self.feed.topic

    @property
    def job(self) -> dg.JobDefinition:
        """The production job over this feed's asset."""
        defs = dg.Definitions(
            assets=build_stream_assets([self.feed]),
            jobs=[job for job in stream_jobs if job.name == self.feed.job],
            resources=build_resources(lambda: self.settings),
        )
        return defs.resolve_job_def(self.feed.job)

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor; its cursor is kept."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        ) as context:
            found = build_increments(self.feed)(context)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        self.observed += [e for e in found.asset_events or [] if isinstance(e, dg.AssetObservation)]
        return list(found.run_requests or [])

    def launch(self, request: dg.RunRequest, **config: object) -> dg.ExecuteInProcessResult:
        """Run what a tick asked for, as the daemon does: one key, one run."""
        assert request.run_key
        run_config: Any = dict(request.run_config)
        run_config["ops"][self.feed.key.to_python_identifier()]["config"].update(config)
        result = self.job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=run_config,
            tags={"dagster/run_key": request.run_key, "dagster/sensor_name": self.feed.sensor},
            raise_on_error=False,
        )
        self.launched[request.run_key] = result.success
        return result

    def follow(self, most: int = 10) -> None:
        """Tick and run until nothing is new."""
        for _ in range(most):
            requests = self.tick()
            if not requests:
                return
            for request in requests:
                self.launch(request)
        pytest.fail(f"not done after {most} ticks")

    def rebuild(self, day: str) -> dg.ExecuteInProcessResult:
        """Materialize a partition as Dagit's backfill does."""
        return self.job.execute_in_process(
            instance=self.instance, partition_key=day, raise_on_error=False
        )

    def put(
        self,
        *records: Record,
        partition: int = -1,
        days_ago: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write records to the topic, today or some days ago."""
        then = datetime.now(UTC) - timedelta(days=days_ago)
        written_ms = int(then.timestamp() * 1000) if days_ago else 0
        send(
            self.kafka,
            self.topic,
            records,
            partition=partition,
            written_ms=written_ms,
            headers=headers,
        )

    def changes(self) -> list[str]:
        lake = Lake(self.settings.lake)
        rows = lake.stream(self.feed.destination.grown.table, ("change_id",), {}).read_all()
        return sorted(rows["change_id"].to_pylist())

    def metadata(self) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(self.feed.key)
        assert event is not None
        assert event.asset_materialization is not None
        return {n: v.value for n, v in event.asset_materialization.metadata.items()}
