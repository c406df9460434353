#!/bin/sh
# Makes the root file system of debian:bookworm-slim from Debian's own packages: the minimal variant
# without documentation, translations and Perl (47 MB, needed by usrmerge only), as in the official
# image. Its argument is the tar file.
set -eu
mirror=http://deb.debian.org
export SOURCE_DATE_EPOCH=1700000000
exec mmdebstrap --quiet --variant=minbase --mode=root --format=tar --include=usr-is-merged \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='chroot "$1" apt-get --quiet --yes purge usrmerge "^perl-modules-"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/etc/hostname' \
    --customize-hook=': > "$1"/etc/resolv.conf' \
    bookworm "$1" \
    "deb $mirror/debian bookworm main" \
    "deb $mirror/debian bookworm-updates main" \
    "deb $mirror/debian-security bookworm-security main"
