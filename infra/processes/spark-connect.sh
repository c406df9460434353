# The Spark Connect server. More arguments are those of the module, such as `--master URL`.
export MALLOC_ARENA_MAX=2
exec nice -n 10 "${PYTHON}" -m diabetes_platform.local.spark.serve connect \
  --java "${JAVA_HOME}/bin/java" --tools "${TOOLS}" --infra "${INFRA}" \
  --work "${PLATFORM_HOME}/run/spark-connect" --listen "${LISTEN_HOST}" \
  --port "${SPARK_CONNECT_PORT}" "$@"
