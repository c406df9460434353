# The Kafka broker. More arguments are those of the broker, such as `--override name=value`.
export MALLOC_ARENA_MAX=2
java="${JAVA_HOME}/bin/java"
jvm_options="@${INFRA}/kafka/jvm.options"
logging="-Dlog4j2.configurationFile=${INFRA}/kafka/log4j2.properties"
# Some jars contain the same class: a fixed order, which `-cp DIR/*` does not have.
jars=$(printf '%s\n' "${TOOLS}"/jars/kafka/*.jar | paste -sd: -)
configuration="${INFRA}/kafka/broker.properties"
"${PYTHON}" -m diabetes_platform.local.kafka.data "${KAFKA_DATA}" \
  "${java}" "${jvm_options}" "${logging}" -cp "${jars}" \
  kafka.tools.StorageTool format --config "${configuration}" || exit
exec "${java}" "${jvm_options}" "${logging}" -cp "${jars}" kafka.Kafka "${configuration}" "$@"
