# Keeps the stream's job running: the cluster stores only its checkpoints.
ready="${PLATFORM_HOME}/run/stream-job.runs"
mkdir -p "${PLATFORM_HOME}/run" "${PLATFORM_HOME}/logs"
rm -f "${ready}"
exec "${PYTHON}" -m diabetes_platform.local.flink.stream_job --ready "${ready}"
