"""The health checks of the API and the predictor: both are ready and have a model."""

from typing import Any

import httpx

from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def api_ready(stack: Stack) -> str:
    """Return which model is served; raises RuntimeError with its reason if it is not ready."""
    return f"serves model {_readiness(stack.url(Port.API))['model_version']}"


def predictor_ready(stack: Stack) -> str:
    """Return its partitions and model; raises RuntimeError with its reason if it is not ready."""
    answer = _readiness(stack.url(Port.PREDICTOR))
    return f"scores {answer['partitions']} partitions with model {answer['model_version']}"


def _readiness(base_url: str) -> dict[str, Any]:
    response = httpx.get(f"{base_url}/ready", timeout=5.0, trust_env=False)
    answer: dict[str, Any] = response.json()
    if not response.is_success:
        raise RuntimeError(answer.get("detail") or f"it answers {response.status_code}")
    return answer


CHECKS = (
    HealthCheck(
        "api",
        "has a model",
        api_ready,
        "without a model: `diabetes materialize` trains and releases one; otherwise "
        "see `diabetes logs api`",
        Port.API,
    ),
    HealthCheck(
        "predictor",
        "is ready to score",
        predictor_ready,
        "without a model: `diabetes materialize` trains and releases one; otherwise "
        "see `diabetes logs predictor`",
        Port.PREDICTOR,
        of_stream=True,
    ),
)
