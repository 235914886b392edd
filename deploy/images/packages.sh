#!/bin/bash
# Installs the Debian packages that the test of the images needs and that are
# missing. Nothing starts. Without root it names them and succeeds.
source "$(dirname "$0")/../peers/lib.sh"
want=(
  dockerd:docker.io docker:docker.io docker-compose:docker-compose debootstrap:debootstrap
  iptables:iptables ip:iproute2 nsenter:util-linux
  '/usr/lib/postgresql/*/bin/initdb:postgresql'
)
if is_root && command -v apt-get >/dev/null; then
  need_pkgs "${want[@]}"
else
  missing_pkgs "${want[@]}"
  [ ${#MISSING[@]} -eq 0 ] || say "missing here: ${MISSING[*]} (root would install them)"
fi
