"""`diabetes install`: install the servers without starting them."""

from rich.console import Console

from diabetes_platform.local.console import Progress
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install.plan import install as install_missing
from diabetes_platform.local.install.progress import ConsoleProgress
from diabetes_platform.local.services import install_plan
from diabetes_platform.settings import PlatformSettings, inherited_environment


def install(settings: PlatformSettings, console: Console, *, development: bool) -> None:
    """Install what the servers need; raises PlatformError that says what the machine lacks."""
    plan = install_plan(development=development)
    tools = HomeLayout.of(settings).tools
    with Progress(console) as progress:
        install_missing(plan, tools, inherited_environment(), ConsoleProgress(progress))
