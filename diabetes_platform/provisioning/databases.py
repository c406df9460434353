"""The names of the databases, and the URLs with which roles reach them.

Imports the standard library only, so that a supervised server restarts quickly.
"""

from urllib.parse import quote

SUPERUSER = "postgres"
WAREHOUSE_DATABASE = "diabetes"
DAGSTER_DATABASE = "dagster"


def connection_url(role: str, password: str, server: str, database: str) -> str:
    """Return the connection URL of `role` on `server` (`host:port`), password included."""
    return f"postgresql://{role}:{quote(password, safe='')}@{server}/{database}"
