"""The command line: `python -m diabetes_platform_tests.clusters engine-up`, `cluster-up`, …."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from diabetes_platform.errors import PlatformError
from diabetes_platform_tests.clusters import tools
from diabetes_platform_tests.clusters.cluster import running_cluster, start_cluster
from diabetes_platform_tests.clusters.engine import running_engine, start_engine

Name = Annotated[str, typer.Option(help="Tells several engines or clusters apart.")]
Images = Annotated[list[Path] | None, typer.Argument(help="Archives of images to load.")]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def engine_up(name: Name = "engine") -> None:
    """Start the engine, with the base image; prints the variables for `docker`."""
    directory = tools.node_directory(name)
    engine = running_engine(directory) or start_engine(directory)
    engine.import_base_image()
    _print(engine.environment)


@app.command()
def engine_down(name: Name = "engine") -> None:
    """Stop the engine and its containers; its images and volumes stay on disk."""
    if engine := running_engine(tools.node_directory(name)):
        engine.down()


@app.command()
def cluster_up(images: Images = None, name: Name = "cluster") -> None:
    """Start the cluster; prints the variables for `kubectl` and `helm`."""
    directory = tools.node_directory(name)
    cluster = running_cluster(directory) or start_cluster(directory, images or [])
    _print(cluster.environment)


@app.command()
def cluster_load(images: list[str], name: Name = "cluster", engine: Name = "engine") -> None:
    """Load images of the engine into the cluster."""
    docker = running_engine(tools.node_directory(engine))
    cluster = running_cluster(tools.node_directory(name))
    if docker is None or cluster is None:
        raise PlatformError("the engine and the cluster must run: engine-up, cluster-up")
    cluster.load_from(docker, *images)


@app.command()
def cluster_down(name: Name = "cluster") -> None:
    """End the cluster and delete its data."""
    if cluster := running_cluster(tools.node_directory(name)):
        cluster.down()


@app.command()
def tool(name: str) -> None:
    """Build or fetch a tool if it is not cached, and print its path."""
    typer.echo(tools.tool(name))


@app.command()
def engine_tools() -> None:
    """Build or fetch what the engine needs."""
    tools.docker_configuration()
    tools.base_image()


@app.command()
def cluster_tools() -> None:
    """Build or fetch what the cluster needs; the first time this takes minutes."""
    for name in ("kube", "helm"):
        tools.tool(name)


@app.command()
def schemas() -> None:
    """Make the schemas for kubeconform if they are not cached, and print their directory."""
    typer.echo(tools.kubernetes_schemas())


def _print(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        typer.echo(f"export {name}={value}")


if __name__ == "__main__":
    try:
        app()
    except PlatformError as error:
        typer.echo(error, err=True)
        sys.exit(1)
