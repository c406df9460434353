# Buckets, users and policies.
exec "${PYTHON}" -m diabetes_platform.provisioning.storage
