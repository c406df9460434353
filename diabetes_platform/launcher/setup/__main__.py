"""One set-up as a process of its own: `python -m diabetes_platform.launcher.setup storage`.

Each may be done again at any time. Exit code 1, with one line, where it cannot be done.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

from pydantic import SecretStr

from diabetes_platform.launcher.errors import TOLD
from diabetes_platform.launcher.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port, SetupSettings


def main(arguments: Sequence[str]) -> int:
    """Do the set-up that is named, and say what was done; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in SETUPS:
        print(f"usage: python -m {__package__} {'|'.join(SETUPS)}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        done = SETUPS[arguments[0]](PlatformSettings(), SetupSettings())
    except TOLD as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor keeps it as the log
        return 1
    print(done)  # noqa: T201
    return 0


def _storage(settings: PlatformSettings, given: SetupSettings) -> str:
    from diabetes_platform.launcher.setup.storage import setup_storage

    s3 = settings.s3
    changes = setup_storage(
        s3.endpoint or "", s3.user or "", s3.secret or "", _plain(given.storage_passwords)
    )
    return f"storage: {', '.join(map(str, changes)) or 'as it should be'}"


def _warehouse(settings: PlatformSettings, given: SetupSettings) -> str:
    from diabetes_platform.launcher.platform import WAREHOUSE_DATABASE
    from diabetes_platform.launcher.postgres_data import SUPERUSER, connection_url
    from diabetes_platform.launcher.setup.warehouse import setup_warehouse
    from diabetes_platform.warehouse.replication import slot_problem

    password = given.postgres_password.get_secret_value()
    url = connection_url(SUPERUSER, password, settings.port(Port.POSTGRES), SUPERUSER)
    slot = setup_warehouse(url, _plain(given.role_passwords), generated_passwords=True)
    return f"warehouse: {slot_problem(slot, WAREHOUSE_DATABASE) or 'as it should be'}"


def _topics(settings: PlatformSettings, _given: SetupSettings) -> str:
    from diabetes_platform.launcher.setup.topics import setup_topics

    plan = setup_topics(f"{HOST}:{settings.port(Port.KAFKA)}")
    changed = ", ".join(sorted({*plan.create, *plan.grow, *plan.alter}))
    return f"topics: {f'made or changed {changed}' if changed else 'as they should be'}"


def _connector(settings: PlatformSettings, given: SetupSettings) -> str:
    from diabetes_platform.launcher.platform import WAREHOUSE_DATABASE
    from diabetes_platform.launcher.postgres_data import connection_url
    from diabetes_platform.launcher.setup.connector import setup_connector
    from diabetes_platform.warehouse.roles import DEBEZIUM

    password = _plain(given.role_passwords)[DEBEZIUM.name]
    port = settings.port(Port.POSTGRES)
    url = connection_url(DEBEZIUM.name, password, port, WAREHOUSE_DATABASE)
    outcome = setup_connector(f"http://{HOST}:{settings.port(Port.CONNECT)}", url)
    return f"connector: {outcome.state}{', changed' if outcome.changed else ''}"


def _plain(passwords: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: password.get_secret_value() for name, password in passwords.items()}


SETUPS: Mapping[str, Callable[[PlatformSettings, SetupSettings], str]] = {
    "storage": _storage,
    "warehouse": _warehouse,
    "topics": _topics,
    "connector": _connector,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
