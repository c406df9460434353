"""`diabetes doctor`: every service tried end to end, and what to do about each that fails."""

from pathlib import Path

import pytest

from diabetes_platform.local.commands.doctor_checks import CHECKS
from diabetes_platform.local.health import examine
from diabetes_platform.local.minio import health as storage
from diabetes_platform.local.secrets import load_or_create
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import command, finish, free_offset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOT_A_SERVICE = "jars"


@pytest.mark.slow
def test_every_service_works(stack: Stack) -> None:
    code, output = finish(command(stack.given, "materialize"))
    assert code == 0, output
    code, output = finish(command(stack.given, "doctor"))
    assert code == 0, output
    for check in CHECKS:
        assert f"✓ {check.service}" in output


def test_where_nothing_runs_every_check_fails_and_says_what_to_do(tmp_path: Path) -> None:
    nowhere = Stack(PlatformSettings(home=tmp_path, port_offset=free_offset()))
    for finding in examine(nowhere, CHECKS):
        assert (finding.error is None) is (finding.check.service == NOT_A_SERVICE), finding
        assert "diabetes" in finding.check.remedy or "make" in finding.check.remedy


def test_a_wrong_password_of_the_storage_is_said(stack: Stack) -> None:
    right = load_or_create(stack.layout.secrets).values
    wrong = Stack(stack.given)
    # What another home's file would hold.
    wrong.__dict__["secrets"] = type(stack.secrets)({**right, storage_secret("pipeline"): "guess"})
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        storage.write_and_read(wrong)


def test_the_doctor_wants_a_running_platform(tmp_path: Path) -> None:
    code, output = finish(command(PlatformSettings(home=tmp_path), "doctor"))
    assert (code, "start it with `make up`" in output) == (3, True), output
