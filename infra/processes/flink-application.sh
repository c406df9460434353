# Flink's JobManager with the stream job in application mode: its end is the end of the job. More
# arguments are options of Flink, `-D name=value`.
export MALLOC_ARENA_MAX=2
export FLINK_HOME="${TOOLS}/flink" FLINK_CONF_DIR="${INFRA}/flink"
export FLINK_LIB_DIR="${FLINK_HOME}/lib" FLINK_OPT_DIR="${FLINK_HOME}/opt"
export FLINK_PLUGINS_DIR="${FLINK_HOME}/plugins"
scratch="${PLATFORM_HOME}/flink/application"
rm -rf "${scratch}"
mkdir -p "${scratch}"
python="${TOOLS}/venvs/flink/bin/python"
# Python in thread mode finds packages only on this path.
packages="$(echo "${TOOLS}"/venvs/flink/lib/python3*/site-packages):${CHECKOUT}"
exec "${JAVA_HOME}/bin/java" -Djava.io.tmpdir="${scratch}" \
  -Dlog.file="${PLATFORM_HOME}/logs/flink-application.log" \
  "@${TOOLS}/flink/application.args" \
  -D jobmanager.rpc.address="${FLINK_HOST}" -D jobmanager.rpc.port="${FLINK_RPC_PORT}" \
  -D jobmanager.bind-host="${LISTEN_HOST}" -D blob.server.port="${FLINK_BLOB_PORT}" \
  -D rest.address="${FLINK_HOST}" -D rest.bind-address="${LISTEN_HOST}" -D rest.port="${FLINK_PORT}" \
  -D s3.endpoint="${AWS_ENDPOINT_URL}" -D pipeline.name=patients -D python.pythonpath="${packages}" \
  -D python.executable="${python}" -D python.client.executable="${python}" "$@" \
  --job-id "${FLINK_JOB_ID}" --job-classname org.apache.flink.client.python.PythonDriver \
  -py "${CHECKOUT}/flink/patients/job.py" --bootstrap-servers "${PLATFORM_KAFKA_SERVERS}"
