# Kafka's topics with their settings.
exec "${PYTHON}" -m diabetes_platform.provisioning.topics
