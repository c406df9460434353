# Dagster's schedules, sensors and run queue.
exec nice -n 10 "${PROGRAMS}/dagster-daemon" run -w "${CHECKOUT}/workspace.yaml"
