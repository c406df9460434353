# The prediction API and the web page.
exec "${SERVING_PYTHON}" -m serving.app
