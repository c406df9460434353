# PostgreSQL with logical decoding.
exec "${PYTHON}" -m diabetes_platform.local.postgres.serve \
  --data-dir "${PLATFORM_HOME}/postgres" --listen "${LISTEN_HOST}" --port "${POSTGRES_PORT}" \
  --config "${INFRA}/postgres/postgresql.conf"
