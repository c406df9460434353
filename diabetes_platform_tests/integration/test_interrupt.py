"""Ctrl-C while the platform starts: all started processes stop."""

import signal
from pathlib import Path

import pytest

from diabetes_platform.local.locks import home_holder
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import supervised_processes
from diabetes_platform.settings import PlatformSettings, Port
from diabetes_platform_tests.commands import command, finish, free_offset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

INTERRUPTED = 130


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["configured", "✓ kafka"])
def test_an_interrupted_start_leaves_no_process(tmp_path: Path, phase: str) -> None:
    settings = PlatformSettings(home=tmp_path, port_offset=free_offset())
    process = command(settings, "up")
    assert process.stdout is not None
    for line in process.stdout:
        if phase in line:
            break
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == INTERRUPTED, output
    stack = Stack(settings)
    assert supervised_processes(stack.layout.home) == []
    assert home_holder(stack.home) is None
    for port in Port:
        require_free(settings.port(port), "the test")
