"""The job on a contract with one more field: old and new change events, and the graph's tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform_tests.grown_contract import NAME, add_field, copy_project

CLASSIFY = f"""
import json
from diabetes_platform.contract.change_events import SINK_KEYS
from flink.patients.changes import classify, decode_valid_change
from flink.patients.messages import Accepted
from flink.patients.tests.messages import NOW_MS, envelope, image, message

later = "{NAME}"
earlier = {{name: value for name, value in image().items() if name != later}}
for row, value in ((earlier, None), (image(), image()[later]), (image(**{{later: None}}), None)):
    event = message(envelope(after=row))
    verdict = classify(event, NOW_MS)
    assert isinstance(verdict, Accepted), verdict
    assert decode_valid_change(event, NOW_MS) == verdict
    content = json.loads(verdict.image)
    assert tuple(content) == SINK_KEYS
    assert content[later] == verdict.features[-1] == value
rejected = classify(message(envelope(after=image(**{{later: 21}}))), NOW_MS)
assert rejected.reasons == (later + ":above_maximum",), rejected
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the job and the contract with the field."""
    directory = tmp_path_factory.mktemp("copy")
    copy_project(directory, "diabetes_platform", "flink")
    add_field(directory)
    return directory


def run(copy: Path, *arguments: str) -> None:
    program = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy / "flink",
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stdout + program.stderr


def test_accepts_change_events_from_before_the_field_and_with_it(copy: Path) -> None:
    run(copy, "-c", CLASSIFY)


@pytest.mark.integration
@pytest.mark.timeout(900)  # it starts a JVM of its own
def test_the_graph_writes_images_and_windows_with_the_field(copy: Path) -> None:
    run(copy, "-m", "pytest", "-q", "patients/tests/test_graph.py")
