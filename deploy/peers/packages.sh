#!/bin/bash
# Installs the Debian packages that tests need and that are missing. Nothing starts.
#   packages.sh test     for make test: PostgreSQL, Chromium, OpenSSH, dash, Zabbix's script engine
#   packages.sh peers    for make test-peers: Alertmanager, Prometheus, Zabbix and the tools of these scripts, too
# Without root, or where there is no apt-get, it names what is missing and succeeds:
# tests skip what they do not find, and fail where CI is set.
source "$(dirname "$0")/lib.sh"

want=(
  '/usr/lib/postgresql/*/bin/initdb:postgresql'
  dash:dash
  /usr/sbin/sshd:openssh-server
  ssh:openssh-client
  /usr/bin/chromium:chromium
  /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf:fonts-dejavu-core
  zabbix_js:zabbix-proxy-sqlite3
)
case ${1:-} in
  test) ;;
  peers) want+=(
    prometheus-alertmanager:prometheus-alertmanager
    prometheus:prometheus
    zabbix_server:zabbix-server-pgsql
    zabbix_agentd:zabbix-agent zabbix_sender:zabbix-agent
    # php-cgi stands in for the web server module that the frontend would pull in otherwise
    php:php-cli php-cgi:php-cgi '/usr/lib/php/*/pgsql.so:php-pgsql' /usr/share/zabbix/api_jsonrpc.php:zabbix-frontend-php
    jq:jq curl:curl sshpass:sshpass
    setpriv:util-linux useradd:passwd ps:procps
  ) ;;
  *) die "usage: $PROG test|peers" ;;
esac

if is_root && command -v apt-get >/dev/null; then
  need_pkgs "${want[@]}"
else
  missing_pkgs "${want[@]}"
  [ ${#MISSING[@]} -eq 0 ] || say "missing here: ${MISSING[*]} (root would install them); tests that need them are skipped"
fi
