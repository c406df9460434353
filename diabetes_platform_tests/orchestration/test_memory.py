"""What a step knows of the newest materialization of an asset."""

import dagster as dg
import pytest

from diabetes_platform.orchestration.memory import INPUT_VERSION, Memory, input_version

STAGING = dg.AssetKey(["staging", "patients"])


def test_what_was_reported_is_recalled() -> None:
    memory = Memory(STAGING, {"load": dg.MetadataValue.int(7)})
    assert memory.recall("load") == 7


def test_what_was_never_reported_names_the_asset_and_is_not_tried_again() -> None:
    with pytest.raises(dg.Failure, match="staging/patients: no materialization with load") as error:
        Memory(STAGING, {}).recall("load")
    assert error.value.allow_retries is False


def test_an_asset_was_made_from_the_input_that_it_names() -> None:
    made = Memory(STAGING, {INPUT_VERSION: dg.MetadataValue.text("a")})
    assert made.was_made_from("a")
    assert not made.was_made_from("b")
    assert not Memory(STAGING, {}).was_made_from("a")


def test_another_part_is_another_input() -> None:
    assert input_version("staging", "1") == input_version("staging", "1")
    assert input_version("staging", "1") != input_version("staging", "2")
