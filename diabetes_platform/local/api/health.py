"""The doctor at the API and the predictor: they are ready, with a model."""

from typing import Any

import httpx

from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def ready(stack: Stack) -> str:
    """Return which model is served; raises with the API's own reason where it is not ready."""
    return f"serves model {_ask(stack.settings.api)['model_version']}"


def predictor_ready(stack: Stack) -> str:
    """Return what the predictor works with; raises with its own reason where it is not ready."""
    answer = _ask(stack.url(Port.PREDICTOR))
    return f"scores {answer['partitions']} partitions with model {answer['model_version']}"


def _ask(base_url: str) -> dict[str, Any]:
    response = httpx.get(f"{base_url}/ready", timeout=5.0, trust_env=False)
    answer: dict[str, Any] = response.json()
    if not response.is_success:
        raise RuntimeError(answer.get("detail") or f"it answers {response.status_code}")
    return answer
