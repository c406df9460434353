"""The doctor at the API: it is ready, with a model."""

import httpx

from diabetes_platform.launcher.stack.stack import Stack


def ready(stack: Stack) -> str:
    """Return which model is served; raises with the API's own reason where it is not ready."""
    response = httpx.get(f"{stack.settings.api}/ready", timeout=5.0, trust_env=False)
    answer = response.json()
    if not response.is_success:
        raise RuntimeError(answer.get("detail") or f"it answers {response.status_code}")
    return f"serves model {answer['model_version']}"
