# Kafka Connect with Debezium.
export MALLOC_ARENA_MAX=2
# The worker's plugin path is relative to it.
cd "${TOOLS}"
# Some jars contain the same class: a fixed order, which `-cp DIR/*` does not have.
exec "${JAVA_HOME}/bin/java" "@${INFRA}/connect/jvm.options" \
  "-Dlog4j2.configurationFile=${INFRA}/connect/log4j2.properties" \
  -cp "$(printf '%s\n' "${TOOLS}"/jars/kafka/*.jar | paste -sd: -)" \
  org.apache.kafka.connect.cli.ConnectDistributed "${INFRA}/connect/worker.properties"
