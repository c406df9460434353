#!/bin/bash
# An executor of Spark on Kubernetes: the driver starts containers with the argument `executor`, and
# passes the options of the JVM in variables.
set -eu
readarray -t options < <(env | grep '^SPARK_JAVA_OPT_' | sort -t_ -k4 -n | sed 's/[^=]*=//')
home=$(echo "${TOOLS}"/venvs/spark/lib/python3*/site-packages/pyspark)
exec "${JAVA_HOME}/bin/java" "@${INFRA}/spark/jvm.options" "${options[@]}" \
  -Xms"${SPARK_EXECUTOR_MEMORY}" -Xmx"${SPARK_EXECUTOR_MEMORY}" \
  -cp "${SPARK_CONF_DIR:-/opt/spark/conf}:${TOOLS}/jars/spark/*:${home}/jars/*" \
  org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
  --driver-url "${SPARK_DRIVER_URL}" --executor-id "${SPARK_EXECUTOR_ID}" \
  --cores "${SPARK_EXECUTOR_CORES}" --app-id "${SPARK_APPLICATION_ID}" \
  --hostname "${SPARK_EXECUTOR_POD_IP}" --resourceProfileId "${SPARK_RESOURCE_PROFILE_ID}" \
  --podName "${SPARK_EXECUTOR_POD_NAME}"
