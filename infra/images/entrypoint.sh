#!/bin/sh
# Starts a process of the platform in a container: `kafka`, `api`, … as in infra/processes, or any other
# command. Files in /run/secrets have its private variables, as those that `make up` writes.
set -eu
umask 077
for file in /run/secrets/*.env; do
  if [ -e "${file}" ]; then
    set -a
    . "${file}"
    set +a
  fi
done
# The batch graph alone: Dagster starts no sensor of the stream.
if [ "${PLATFORM_PROFILE:-all}" = demo ]; then
  unset PLATFORM_KAFKA_SERVERS PLATFORM_CONNECT_URL PLATFORM_FLINK_URL
fi
# An instance of Dagster, unless the deployment has mounted its own configuration.
if [ -n "${DAGSTER_HOME:-}" ] && [ ! -e "${DAGSTER_HOME}/dagster.yaml" ]; then
  mkdir -p "${DAGSTER_HOME}" "${PLATFORM_HOME}/logs"
  ln -sf "${INFRA}/dagster/instance.yaml" "${DAGSTER_HOME}/dagster.yaml"
fi
script="${INFRA}/processes/${1}.sh"
if [ -e "${script}" ]; then
  shift
  exec sh "${script}" "$@"
fi
exec "$@"
