#!/bin/sh
# Runs a command of a build that downloads; the build secret `ca` has the certificates of a proxy.
if [ -s /run/secrets/ca ]; then
  export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
exec "$@"
