# Flink's TaskManager.
export MALLOC_ARENA_MAX=2
export FLINK_PLUGINS_DIR="${TOOLS}/flink/plugins"
scratch="${PLATFORM_HOME}/flink/taskmanager"
rm -rf "${scratch}"
mkdir -p "${scratch}"
exec "${JAVA_HOME}/bin/java" -Djava.io.tmpdir="${scratch}" \
  -Dlog.file="${PLATFORM_HOME}/logs/flink-taskmanager.log" \
  "@${TOOLS}/flink/taskmanager.args" \
  -D jobmanager.rpc.address="${FLINK_HOST}" -D jobmanager.rpc.port="${FLINK_RPC_PORT}" \
  -D taskmanager.host="${TASKMANAGER_HOST}" -D taskmanager.bind-host="${LISTEN_HOST}" \
  -D taskmanager.resource-id=taskmanager-1 -D s3.endpoint="${AWS_ENDPOINT_URL}"
