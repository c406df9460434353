"""`diabetes doctor`: an end-to-end test of every service, and a remedy for each failure."""

from pathlib import Path

import pytest

from diabetes_platform.local.health import run_checks
from diabetes_platform.local.minio import health as storage
from diabetes_platform.local.secrets import load_or_create
from diabetes_platform.local.services import health_checks
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import command, finish, free_offset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOT_A_SERVICE = "jars"


@pytest.mark.slow
def test_every_service_passes_on_a_running_platform(stack: Stack) -> None:
    code, output = finish(command(stack.base_settings, "materialize"))
    assert code == 0, output
    code, output = finish(command(stack.base_settings, "doctor"))
    assert code == 0, output
    for check in health_checks(stack):
        assert f"✓ {check.service}" in output


def test_every_check_fails_with_a_remedy_when_no_service_runs(tmp_path: Path) -> None:
    stopped = Stack(PlatformSettings(home=tmp_path, port_offset=free_offset()))
    for result in run_checks(stopped, health_checks(stopped)):
        assert (result.error is None) is (result.check.service == NOT_A_SERVICE), result
        assert "diabetes" in result.check.remedy or "make" in result.check.remedy


def test_a_wrong_storage_password_is_reported(stack: Stack) -> None:
    correct = load_or_create(stack.layout.secrets).values
    wrong = Stack(stack.base_settings)
    # The password of another home.
    wrong.__dict__["secrets"] = type(stack.secrets)(
        {**correct, storage_secret("pipeline"): "guess"}
    )
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        storage.write_and_read(wrong)


def test_doctor_requires_a_running_platform(tmp_path: Path) -> None:
    code, output = finish(command(PlatformSettings(home=tmp_path), "doctor"))
    assert (code, "start it with `make up`" in output) == (3, True), output
