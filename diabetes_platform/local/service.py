"""The description of one service of the local platform: processes, environments, URLs, checks.

Each service has a folder with `service.py`, which contains its `SERVICE`, `health.py` with the
`CHECKS` of `diabetes doctor`, and its process-compose files; `services.py` lists all services.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.stack import Stack

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Component:
    """A part that runs inside a service's process, for example a connector or a Flink job.

    The status table shows it below `process`.
    """

    process: str
    name: str
    running: bool
    state: str


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as `diabetes up`, `status`, `doctor` and `install` use it.

    Fields whose value needs an import or a file are functions, so that a command loads only what it
    uses.
    """

    name: str
    """The name of its folder."""
    environments: Callable[[Stack], Mapping[str, Environment]]
    """The private variables, with passwords, by the name of the file that a process sources."""
    process_files: Callable[[Stack], Sequence[str]] = lambda _: ("processes.yaml",)
    """The process-compose files in its folder; a later file overrides an earlier one."""
    urls: Callable[[Stack], Mapping[str, str]] = lambda _: {}
    """The address of each process that listens, by the name of the process."""
    install_plan: Callable[[], InstallPlan] = InstallPlan
    variables: Callable[[], Environment] = dict
    """Public variables that the process-compose files of the service refer to."""
    components: Callable[[Stack], Sequence[Component]] = lambda _: ()
