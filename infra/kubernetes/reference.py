"""Writes the reference of the chart's values: `python infra/kubernetes/reference.py`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent
REFERENCE = CHART.parents[1] / "docs" / "reference" / "helm-values.md"
HEAD = """# Values of the Helm chart

`infra/kubernetes/reference.py` writes this page from `values.schema.json`, `values.yaml` and
`files/network.yaml` of [the chart](../../infra/kubernetes). A key that is not here is refused.
[Run the platform on Kubernetes](../how-to/run-on-kubernetes.md) says how to use them.

| value | default | meaning |
|---|---|---|
"""
NETWORK = """
`resources` has `requests` and `limits`, both with `cpu` and `memory`. `pod` has `nodeSelector`,
`tolerations`, `affinity`, `priorityClassName` and `annotations`. `volume` has `size` and
`storageClass`.

## Allowed connections

Every other connection is refused, if the cluster enforces NetworkPolicies.

| from | to |
|---|---|
"""


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    network = yaml.safe_load((CHART / "files" / "network.yaml").read_text(encoding="utf-8"))
    rows = (f"| `{n}` | {v} | {text} |\n" for n, v, text in entries(schema["properties"], values))
    return HEAD + "".join(rows) + NETWORK + "".join(connections(network))


def entries(
    properties: Mapping[str, Any], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and meaning of every value."""
    for name, schema in properties.items():
        path = f"{prefix}{name}"
        value = values.get(name) if isinstance(values, Mapping) else None
        if "$ref" in schema:
            yield path, default(value), schema["$ref"].rpartition("/")[2]
        elif "properties" in schema:
            yield path, "", f"**{schema['description']}**"
            yield from entries(schema["properties"], value or {}, f"{path}.")
        elif "description" in schema:
            yield path, default(value), meaning(schema)


def default(value: object) -> str:
    """Return a default as it is written in YAML; nothing for an empty one."""
    if value is None or value in ("", {}, []):
        return ""
    if isinstance(value, Mapping) and "limits" in value:
        cells = [
            f"{kind} {value[kind]['cpu']} CPU, {value[kind]['memory']}"
            for kind in ("requests", "limits")
        ]
        return "; ".join(cells)
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def meaning(schema: Mapping[str, Any]) -> str:
    """Return the description of a value with its allowed values."""
    if "enum" in schema:
        allowed = ", ".join(f"`{value}`" for value in schema["enum"])
        return f"{schema['description']}: {allowed}"
    return str(schema["description"])


def connections(network: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each component."""
    for component, targets in network["edges"].items():
        others = [f"`{target}`" for target in targets]
        if component in network["api_server"]:
            others.append("the Kubernetes API server")
        if component in network["outside"]:
            others.append("the outside")
        yield f"| `{component}` | {', '.join(others) or 'nothing'} |\n"


if __name__ == "__main__":
    main()
