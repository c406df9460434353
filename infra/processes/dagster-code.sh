# Dagster's code server and its runs. They have a lower priority than the services that answer people.
exec nice -n 10 "${PYTHON}" -m diabetes_platform.local.dagster.code_server \
  --host "${LISTEN_HOST}" --port "${DAGSTER_CODE_PORT}"
