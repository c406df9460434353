"""The stream event: a Debezium change of `public.diabetes_new`, and the topics it travels on."""

from dataclasses import dataclass

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW

CDC_TOPIC = "diabetes_cdc.public.diabetes_new"
SINK_TOPIC = "diabetes_out.public.sink_diabetes"
REJECTED_TOPIC = "diabetes_out.public.rejected_diabetes"
WINDOWED_TOPIC = "diabetes_out.public.windowed_diabetes"


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """What a change event must carry; `operations` maps Debezium's codes to their names."""

    topic: str
    key: tuple[str, ...]
    operations: dict[str, str]
    envelope_keys: tuple[str, ...]
    source_keys: tuple[str, ...]
    image_keys: tuple[str, ...]
    required_image_keys: tuple[str, ...]


DIABETES_NEW_CHANGED = ChangeEvent(
    topic=CDC_TOPIC,
    key=DIABETES_NEW.key,
    operations={"c": "create", "u": "update", "d": "delete", "r": "snapshot read"},
    envelope_keys=("before", "after", "source", "op", "ts_ms"),
    source_keys=("lsn", "ts_ms", "table", "snapshot"),
    image_keys=DIABETES_NEW.column_names,
    required_image_keys=(*DIABETES_NEW.key, *FEATURE_NAMES),
)
