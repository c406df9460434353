"""Dagster's storage in PostgreSQL over connections that a process keeps.

Dagster's own opens one for each statement, so that instances, of which a code server makes one a
tick, hold none: here the instances of a process share what it keeps. An idle platform otherwise
makes twenty connections a second, which are a fifth of a core, and a run one an event.
"""

import threading
from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy.engine import Engine

KEPT_CONNECTIONS = 2
"""A process keeps so many; it opens more when its threads need them, and closes those again."""
RECYCLE_SECONDS = 3600
"""A server's backend caches what it has read, and grows with it."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage`, whose configuration it takes, over kept connections.

    Each is tried before it is used, so that a restarted server costs nobody an error.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Return the storage of an instance; its tables are made with a process's first."""
        url = pg_url_from_config(config_value)
        make_tables = config_value.get("should_autocreate_tables", True)
        provider = get_token_provider_from_config(config_value)
        with _lock:
            first = url not in _engines
            storage = cls(url, make_tables and first, inst_data, token_provider=provider)
            if first:
                _engines[url] = create_pg_engine(
                    url,
                    provider,
                    isolation_level="AUTOCOMMIT",
                    pool_size=KEPT_CONNECTIONS,
                    max_overflow=-1,
                    pool_recycle=RECYCLE_SECONDS,
                    pool_pre_ping=True,
                )
            storage.use(_engines[url])
        return storage

    def use(self, engine: Engine) -> None:
        """Take the connections of `engine` from now on."""
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # noqa: SLF001 - has no other way in


_engines: dict[str, Engine] = {}
_lock = threading.Lock()
