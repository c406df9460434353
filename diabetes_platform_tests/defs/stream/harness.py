"""A stream asset's sensor and job, ticked and launched by a test in place of the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from diabetes_platform.defs.stream.assets import PATIENTS_ASSET, StreamAsset, build_stream_asset
from diabetes_platform.defs.stream.jobs import stream_jobs
from diabetes_platform.defs.stream.sensors import TopicSnapshot, build_increments
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import HealthIssue
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import Record, send


@dataclass
class Harness:
    """A sensor that has never ticked, with its job and its instance."""

    settings: PlatformSettings
    instance: dg.DagsterInstance
    kafka: Kafka
    stream_asset: StreamAsset = PATIENTS_ASSET
    cursor: str | None = None
    skip_reason: str = ""
    results: list[dg.ExecuteInProcessResult] = field(default_factory=list)
    observations: list[dg.AssetObservation] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return self.stream_asset.topic

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    @property
    def job(self) -> dg.JobDefinition:
        """The production job over this asset."""
        defs = dg.Definitions(
            assets=[build_stream_asset(self.stream_asset)],
            jobs=[job for job in stream_jobs if job.name == self.stream_asset.job],
            resources=build_resources(lambda: self.settings),
        )
        return defs.resolve_job_def(self.stream_asset.job)

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor; its cursor is kept."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        ) as context:
            result = build_increments(self.stream_asset)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.skip_reason = result.skip_reason.skip_message or "" if result.skip_reason else ""
        events = result.asset_events or []
        self.observations += [e for e in events if isinstance(e, dg.AssetObservation)]
        return list(result.run_requests or [])

    def issues(self) -> list[HealthIssue]:
        """Return the issues that the latest tick left for `stream_health`."""
        snapshot = TopicSnapshot.parse(self.cursor, self.topic)
        assert snapshot is not None
        return snapshot.issues(self.stream_asset.sensor, snapshot.observed_ms)

    def request(self) -> dg.RunRequest:
        """Evaluate the sensor and return the one run that it requests."""
        (request,) = self.tick()
        return request

    def launch(self, request: dg.RunRequest, **config: object) -> dg.ExecuteInProcessResult:
        """Run a request as the daemon does; `config` overrides its configuration."""
        run_config: Any = dict(request.run_config)
        run_config["ops"][self.stream_asset.key.to_python_identifier()]["config"].update(config)
        result = self.job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=run_config,
            tags={"dagster/sensor_name": self.stream_asset.sensor},
            raise_on_error=False,
        )
        self.results.append(result)
        return result

    def ingest_all(self, max_ticks: int = 10) -> None:
        """Tick and run until the sensor requests nothing."""
        for _ in range(max_ticks):
            requests = self.tick()
            if not requests:
                return
            for request in requests:
                self.launch(request)
        pytest.fail(f"still unread offsets after {max_ticks} ticks")

    def add_run(self, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """Add a run of the sensor's job that has this status."""
        run = dg.DagsterRun(
            job_name=self.stream_asset.job,
            status=status,
            tags={"dagster/sensor_name": self.stream_asset.sensor},
        )
        return self.instance.add_run(run)

    def rebuild(self, day: str) -> dg.ExecuteInProcessResult:
        """Materialize a partition as the UI does."""
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
        """Write records to the topic, with the timestamp of today or of some days ago."""
        timestamp = datetime.now(UTC) - timedelta(days=days_ago)
        written_ms = int(timestamp.timestamp() * 1000) if days_ago else 0
        send(
            self.kafka,
            self.topic,
            records,
            partition=partition,
            written_ms=written_ms,
            headers=headers,
        )

    def rows(self, *columns: str) -> list[dict[str, object]]:
        contract = self.stream_asset.topic_table.contract
        return self.lake.stream(contract, columns, {}).read_all().to_pylist()

    def change_ids(self) -> list[str]:
        return sorted(str(row["change_id"]) for row in self.rows("change_id"))

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the latest materialization."""
        event = self.instance.get_latest_materialization_event(self.stream_asset.key)
        assert event is not None
        assert event.asset_materialization is not None
        return {n: v.value for n, v in event.asset_materialization.metadata.items()}
