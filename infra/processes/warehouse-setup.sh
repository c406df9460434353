# Databases, roles, migrations and the replication slot.
exec "${PYTHON}" -m diabetes_platform.provisioning.warehouse
