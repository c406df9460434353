"""Dagster's PostgreSQL storage with a connection pool that the instances of a process share.

Dagster's own storage opens a connection for each statement, and a code server creates an instance
at each tick. An idle platform then opens twenty connections a second, which costs a fifth of a
core, and a run opens one for each event.
"""

import threading
from collections.abc import Mapping
from typing import Any, Self

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy.engine import Engine

from diabetes_platform.dagster_internals import ConfigurableClassData, share_engine

POOL_SIZE = 2
"""Connections that a process keeps open; it opens more on demand and closes them again."""
RECYCLE_SECONDS = 3600
"""A PostgreSQL backend caches what it reads: its memory grows until the connection closes."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` over pooled connections, with the same configuration.

    A connection is tested before use, so that a restart of the server causes no error.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Return the storage; only the first one in a process creates the tables."""
        url = pg_url_from_config(config_value)
        create_tables = config_value.get("should_autocreate_tables", True)
        provider = get_token_provider_from_config(config_value)
        with _lock:
            is_first = url not in _engines
            storage = cls(url, create_tables and is_first, inst_data, token_provider=provider)
            if is_first:
                _engines[url] = create_pg_engine(
                    url,
                    provider,
                    isolation_level="AUTOCOMMIT",
                    pool_size=POOL_SIZE,
                    max_overflow=-1,
                    pool_recycle=RECYCLE_SECONDS,
                    pool_pre_ping=True,
                )
            share_engine(storage, _engines[url])
        return storage


_engines: dict[str, Engine] = {}
_lock = threading.Lock()
