"""The names of all variables that are settings of the platform or of serving."""

import ast

from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings

SERVING = [PROJECT_ROOT / "serving" / part / "settings.py" for part in ("app", "predictor")]


def setting_names() -> set[str]:
    fields = PlatformSettings.model_fields.items()
    platform = {str(f.validation_alias or f"PLATFORM_{name.upper()}") for name, f in fields}
    # Serving has an environment of its own: its settings are read from the source.
    classes = [
        statement
        for file in SERVING
        for statement in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.ClassDef)
    ]
    serving = {
        f"PLATFORM_{field.target.id.upper()}"
        for settings in classes
        for field in settings.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    return platform | serving
