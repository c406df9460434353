"""`python -m serving.app`: runs the API on uvicorn until a stop signal."""

import copy
import os
import tempfile
from contextlib import ExitStack
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from serving.app.settings import ServingSettings

_GRACE_SECONDS = 10


def log_config() -> dict[str, Any]:
    """Return uvicorn's logging configuration with the loggers of `serving` added."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["serving"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def main() -> None:
    """Run the workers; each follows the champion on its own."""
    settings = ServingSettings()
    with ExitStack() as stack:
        if settings.api_workers > 1:
            shared = tempfile.TemporaryDirectory(prefix="diabetes-api-metrics-")
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(shared)
        uvicorn.run(
            "serving.app.main:create_app",
            factory=True,
            host=settings.api_host,
            port=settings.port,
            workers=settings.api_workers,
            log_config=log_config(),
            # Client addresses are private, and a log line per request costs a third of the speed.
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )


if __name__ == "__main__":
    main()
