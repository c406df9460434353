# S3 storage.
export MINIO_UPDATE=off GOGC=50 GOMEMLIMIT=128MiB
exec "${TOOLS}/bin/minio" server --quiet --address "${LISTEN_HOST}:${MINIO_PORT}" \
  --console-address "${LISTEN_HOST}:${MINIO_CONSOLE_PORT}" \
  --certs-dir "${PLATFORM_HOME}/run/minio-certificates" "${PLATFORM_HOME}/minio"
