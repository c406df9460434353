"""Makes the JSON schemas of kubeconform from the OpenAPI document of the Kubernetes sources.

Usage: schemas.py SWAGGER.JSON DIRECTORY. The schemas refuse unknown fields.
"""

import json
import sys
from pathlib import Path
from typing import Any

DEFINITIONS = "_definitions.json"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
SCALARS = {
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"oneOf": [{"type": "string"}, {"type": "integer"}]},
}


def main(swagger: Path, directory: Path) -> None:
    """Write one schema per kind and version, and one file with the types that they refer to."""
    definitions = json.loads(swagger.read_text(encoding="utf-8"))["definitions"]
    definitions = {name: SCALARS.get(name, _closed(type_)) for name, type_ in definitions.items()}
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / DEFINITIONS, {"definitions": definitions})
    for type_ in definitions.values():
        for kind in type_.get("x-kubernetes-group-version-kind", ()):
            group = f"{kind['group'].split('.')[0]}-" if kind["group"] else ""
            name = f"{kind['kind'].lower()}-{group}{kind['version']}.json"
            text = json.dumps(type_).replace('"#/definitions/', f'"{DEFINITIONS}#/definitions/')
            schema = json.loads(text)
            if "kind" in schema.get("properties", {}):
                schema["properties"]["kind"]["enum"] = [kind["kind"]]
            _write(directory / name, schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with `properties`, without further ones."""
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _write(path: Path, schema: object) -> None:
    path.write_text(json.dumps(schema), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
