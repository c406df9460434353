"""The layout of the home directory."""

from pathlib import Path

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


def test_all_state_is_below_the_home() -> None:
    layout = HomeLayout(Path("/srv/home"))
    paths = [
        layout.postgres,
        layout.dagster,
        layout.secrets,
        layout.running_lock,
        layout.batch_lock,
        layout.temporary,
        layout.setup_seconds,
        layout.log("api"),
    ]
    assert all(path.is_relative_to("/srv/home") for path in paths)
    assert len(set(paths)) == len(paths)
    assert all(path.parent == layout.home for path in layout.data)


def test_a_relative_home_is_relative_to_the_working_directory() -> None:
    assert HomeLayout.of(PlatformSettings(home=Path("here"))).home == Path.cwd() / "here"


def test_programs_are_from_the_running_python_environment() -> None:
    layout = HomeLayout(Path("/srv/home"))
    assert Path(layout.program("dagster-webserver")).exists()
    assert layout.workspace == PROJECT_ROOT / "workspace.yaml"
    assert layout.workspace.exists()
