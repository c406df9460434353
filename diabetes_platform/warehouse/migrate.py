"""Bringing the warehouse's schema to the newest version, with Alembic."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url

LOCATION = Path(__file__).parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations up to `revision` to the database at `url`, in one transaction."""
    _run(url, command.upgrade, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the migrations after `revision` back; `base` takes all of them, and the patients."""
    _run(url, command.downgrade, revision)


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL as SQLAlchemy's URL for psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _run(url: str, action: Callable[[Config, str], None], revision: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
            config.attributes["connection"] = connection
            action(config, revision)
    finally:
        engine.dispose()
