"""The job `maintenance` on the production definitions."""

import pytest

from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.definitions import build_definitions
from diabetes_platform.lake.delta import Lake
from diabetes_platform_tests.defs.conftest import Platform


@pytest.mark.slow
@pytest.mark.integration
def test_skips_unchanged_input_after_maintenance(serving: Platform) -> None:
    lake = Lake(serving.settings.lake)
    raw = lake.table(RAW_PATIENTS).version()
    job = build_definitions(lambda: serving.settings).resolve_job_def("maintenance")

    assert job.execute_in_process(instance=serving.instance).success

    assert lake.table(RAW_PATIENTS).version() == raw
    assert serving.run().success
    assert serving.metadata("cleaned/patients")["processed"] is False
    assert serving.metadata("staging/patients")["processed"] is False
