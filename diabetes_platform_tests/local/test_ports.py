"""Ports: checking, and naming the owner of one in use."""

import os
import socket
from collections.abc import Iterator

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import HOST, free_port, port_owner, require_free


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


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


def test_a_connection_to_a_port_does_not_own_it() -> None:
    with socket.create_server((HOST, 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address):
            server.close()
            assert port_owner(address[1]) is None
