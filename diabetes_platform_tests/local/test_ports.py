"""Ports: checking, and naming the owner of one in use."""

import os
import socket
from collections.abc import Iterator

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import (
    HOST,
    free_port,
    listening_inodes,
    port_owner,
    require_free,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:1539 0100007F:A0B2 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("port", "inodes"),
    [(5433, {"4711"}), (3000, {"4713"}), (4001, set())],
    ids=["only the listener, not its connection", "listener on all addresses", "none"],
)
def test_reads_listening_sockets_from_the_kernel_table(port: int, inodes: set[str]) -> None:
    assert listening_inodes(TABLE, port) == inodes


def test_accepts_a_free_port() -> None:
    require_free(free_port(), "anything")


def test_names_the_owner_of_a_port_in_use(used_port: int) -> None:
    expected = rf"PostgreSQL: port {used_port} is in use by .* \(pid {os.getpid()}\)"
    with pytest.raises(PlatformError, match=expected):
        require_free(used_port, "PostgreSQL")


def test_a_server_on_all_addresses_uses_the_port() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as server,  # noqa: S104 - the tested case
        pytest.raises(PlatformError, match="PLATFORM_PORT_OFFSET"),
    ):
        require_free(server.getsockname()[1], "API")


def test_reports_a_port_that_cannot_be_opened() -> None:
    with pytest.raises((PlatformError, OverflowError), match="port"):
        require_free(70_000, "API")


def test_a_free_port_has_no_owner() -> None:
    assert port_owner(free_port()) is None
