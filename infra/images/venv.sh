#!/bin/sh
# Installs a virtual environment for an image: `venv.sh NAME LOCK BUILD_LOCK PACKAGE…`, without the last
# packages. Removes what no program reads. Compiles the modules that IMPORTS lists and all that they
# import, or every module if IMPORTS is empty.
set -eu
name=$1 lock=$2 build_lock=$3
shift 3
export VIRTUAL_ENV="/opt/platform/venvs/${name}"
# Debugging information has the path of a temporary directory: two builds would differ.
export CFLAGS=-g0
uv venv -q --python /usr/bin/python3 "${VIRTUAL_ENV}"
with-ca.sh uv pip sync -q --require-hashes --build-constraints "${build_lock}" "${lock}"
[ $# -eq 0 ] || uv pip uninstall -q "$@"
packages=$(echo "${VIRTUAL_ENV}"/lib/python3*/site-packages)
# The checkout, which is not a package.
echo /app > "${packages}/checkout.pth"
# Not `test`: Dagster has such a package for its own use.
find "${packages}" -depth -mindepth 2 -type d -name tests -exec rm -rf {} +
find "${packages}" -type f '(' -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' \
  -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' -o -name '*.f90' -o -name '*.a' -o -name '*.map' ')' \
  -delete
# Arrow's RPC and its own S3 client (deltalake and obstore have theirs), Kubernetes' client for
# asyncio, and the description of every AWS service but S3.
rm -rf "${packages}"/pyarrow/*flight* "${packages}"/pyarrow/*s3* \
  "${packages}/Crypto/SelfTest" "${packages}/kubernetes/aio" "${packages}/matplotlib/mpl-data/sample_data"
find "${packages}" -mindepth 3 -maxdepth 3 -type d -path '*/botocore/data/*' \
  ! -name s3 ! -name sts ! -name 'sso*' -exec rm -rf {} +
# Libraries in `*.libs` were moved by auditwheel in a way that strip damages.
find "${packages}" -type f -name '*.so*' ! -path '*.libs/*' -exec strip --strip-unneeded {} +
if [ -n "${IMPORTS:-}" ]; then
  # Spark's client looks for its tests, and these for an installation.
  # shellcheck disable=SC2086
  PYTHONDONTWRITEBYTECODE=1 SPARK_HOME=/ "${VIRTUAL_ENV}/bin/python" /usr/local/bin/bytecode.py ${IMPORTS}
else
  python3 -m compileall -q --invalidation-mode unchecked-hash "${packages}"
fi
