"""`python -m serving.app`: the API on uvicorn, until it is told to stop."""

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
    """Return uvicorn's logging with the API's own loggers beside it."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["serving"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def main() -> None:
    """Serve; each worker follows the champion by itself."""
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
            # An address is nobody's business, and a log line a request costs a third of the speed.
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )


if __name__ == "__main__":
    main()
