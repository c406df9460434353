# The Debezium connector.
exec "${PYTHON}" -m diabetes_platform.provisioning.connector
