# Dagster's UI.
exec "${PYTHON}" -m dagster_webserver -w "${CHECKOUT}/workspace.yaml" \
  -h "${LISTEN_HOST}" -p "${DAGSTER_PORT}" --db-pool-recycle 1
