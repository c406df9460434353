#!/bin/bash
# A probe for images without curl: `probe.sh HOST PORT` connects, `probe.sh HOST PORT PATH` also expects
# HTTP status 200.
set -eu
exec 3<>"/dev/tcp/${1}/${2}"
if [ $# -eq 3 ]; then
  printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${3}" "${1}:${2}" >&3
  read -r _ status _ <&3
  [ "${status}" = 200 ]
fi
