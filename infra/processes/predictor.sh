# The predictor, which scores the stream.
export MALLOC_ARENA_MAX=2
exec "${SERVING_PYTHON}" -m serving.predictor
