"""Builds FLINK_HOME in an image, with the step of `diabetes install` for one machine."""

import asyncio
from pathlib import Path

from diabetes_platform.local.flink import distribution
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.settings import inherited_environment

if __name__ == "__main__":
    environment = inherited_environment()
    tools = Tools(Path(environment["TOOLS"]))
    installer = Installer(tools, find_java(environment), environment, None, lambda _: None)
    asyncio.run(distribution.install(installer))
