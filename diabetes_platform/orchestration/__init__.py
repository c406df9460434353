"""Code that the Dagster definitions in `defs/` share; it defines no asset, check or sensor."""
