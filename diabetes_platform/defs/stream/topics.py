"""The topics of the stream, as observed assets."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from diabetes_platform.contract.events import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.orchestration.describe import GROUPS, OWNER, table_metadata, topic_key


@dg.definitions
def topics() -> dg.Definitions:
    """Return the topics of the stream as external assets: no Dagster run writes them."""
    cdc, sink = topic_key(CDC_TOPIC), topic_key(SINK_TOPIC)
    specs = [
        _topic(
            CDC_TOPIC,
            {"debezium", "kafka"},
            "Changes of the intake table, as Debezium reads them from the write-ahead log. Kept a "
            "week.",
            metadata=table_metadata(DIABETES_NEW),
        ),
        _topic(
            SINK_TOPIC,
            {"flink", "kafka"},
            "The newest valid image of each patient, by Flink; a tombstone for a deleted one.",
            [cdc],
            metadata=table_metadata(DIABETES_NEW, {cdc: DIABETES_NEW}),
        ),
        _topic(
            REJECTED_TOPIC,
            {"flink", "kafka"},
            "Changes that violate the contract, and unreadable images: original bytes with all "
            "reasons. Kept a month.",
            [cdc, sink],
        ),
        _topic(
            WINDOWED_TOPIC,
            {"flink", "kafka"},
            "Counts and means of each minute of event time. Kept a month.",
            [cdc],
        ),
    ]
    return dg.Definitions(assets=specs)


def _topic(
    topic: str,
    kinds: set[str],
    description: str,
    deps: Sequence[dg.AssetKey] = (),
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    key = topic_key(topic)
    return dg.AssetSpec(
        key,
        deps=deps,
        description=description,
        group_name=GROUPS[key.path[0]],
        kinds=kinds,
        owners=[OWNER],
        metadata={**(metadata or {}), "dagster/table_name": topic},
    )
