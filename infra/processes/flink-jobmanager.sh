# Flink's JobManager.
export MALLOC_ARENA_MAX=2
export FLINK_PLUGINS_DIR="${TOOLS}/flink/plugins"
scratch="${PLATFORM_HOME}/flink/jobmanager"
rm -rf "${scratch}"
mkdir -p "${scratch}"
exec "${JAVA_HOME}/bin/java" -Djava.io.tmpdir="${scratch}" \
  -Dlog.file="${PLATFORM_HOME}/logs/flink-jobmanager.log" \
  "@${TOOLS}/flink/jobmanager.args" \
  -D jobmanager.rpc.address="${FLINK_HOST}" -D jobmanager.rpc.port="${FLINK_RPC_PORT}" \
  -D jobmanager.bind-host="${LISTEN_HOST}" -D blob.server.port="${FLINK_BLOB_PORT}" \
  -D rest.address="${FLINK_HOST}" -D rest.bind-address="${LISTEN_HOST}" -D rest.port="${FLINK_PORT}" \
  -D s3.endpoint="${AWS_ENDPOINT_URL}"
