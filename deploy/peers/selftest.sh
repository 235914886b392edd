#!/bin/bash
# Starts every peer in a fresh folder, checks the real flows, stops everything.
#   selftest.sh [DIR]
# Prints one "ok" or "FAIL" a check, the times, and a summary. KEEP=1 leaves DIR.
source "$(dirname "$0")/lib.sh"
trap - ERR
set +eE
W=${1:-/tmp/peers-selftest.$$}
mkdir -p "$W" && W=$(cd "$W" && pwd -P) && cd "$HERE" || exit 1
bad=0 n=0

check() { # NAME GOT WANTED
  n=$((n + 1))
  if [ "$2" = "$3" ]; then
    echo "ok   $1: $2"
  else
    bad=$((bad + 1))
    echo "FAIL $1: $2 (expected $3)"
  fi
}
timed() { # NAME COMMAND...: it must succeed; its output is in $W/out
  local name=$1 t=$EPOCHREALTIME rc=0
  shift
  "$@" >"$W/out" 2>"$W/err" 9>&- || rc=$?
  awk -v a="$t" -v b="$EPOCHREALTIME" -v l="$name" 'BEGIN{printf "time %s: %.2f s\n", l, b-a}'
  check "$name exits" $rc 0
  [ $rc = 0 ] || tail -n 5 "$W/err"
}
value() { sed -n "s/^$2=//p" "$W/$1/facts.env"; } # PEER FACT
request() {                                       # N JQ-EXPRESSION: of the Nth request that the listener got
  ./listener.sh wait "$W/l" "$1" 40 >/dev/null 2>&1
  jq -r "$2" "$W/l/got/$(printf %03d "$1").json" 2>/dev/null
}
finish() {
  local x
  for x in prometheus:prom alertmanager:am zabbix:zbx sshd:ssh browser:br oidc:oidc postgres:pg listener:l; do
    ./"${x%%:*}".sh stop "$W/${x##*:}" >/dev/null 2>&1
  done
}
trap finish EXIT

timed 'listener start' ./listener.sh start "$W/l"
L=$(value l LISTENER_URL)

timed 'postgres first start' ./postgres.sh start "$W/pg"
timed 'postgres start again (running)' ./postgres.sh start "$W/pg"
timed 'postgres stop' ./postgres.sh stop "$W/pg"
timed 'postgres restart' ./postgres.sh start "$W/pg"
check 'postgres answers' "$(./postgres.sh psql "$W/pg" -Atc 'select 1+1')" 2

timed 'sshd first start' ./sshd.sh start "$W/ssh"
timed 'sshd verify' ./sshd.sh verify "$W/ssh"
check 'sshd checks' "$(grep -c ^ok "$W/out")" 12
timed 'sshd stop' ./sshd.sh stop "$W/ssh"

timed 'alertmanager start' env AM_WEBHOOK_URL="$L/am" AM_BEARER=tok-123 ./alertmanager.sh start "$W/am"
timed 'alertmanager fire' ./alertmanager.sh fire "$W/am" HighErrorRate service=checkout instance=10.0.0.5:9100 \
  '@summary=5xx above 5 %' '@description=checkout returns "500" for ümlaut users'
check 'firing webhook' \
  "$(request 1 '[.body.status,.body.alerts[0].labels.alertname,.headers.authorization]|join(" ")')" \
  'firing HighErrorRate Bearer tok-123'
timed 'alertmanager resolve' ./alertmanager.sh resolve "$W/am" HighErrorRate service=checkout instance=10.0.0.5:9100
check 'resolved webhook' \
  "$(request 2 '[.body.status,.body.alerts[0].fingerprint]|join(" ")')" \
  "resolved $(request 1 '.body.alerts[0].fingerprint')"

timed 'prometheus start' ./prometheus.sh start "$W/prom" 0 "$(value am ALERTMANAGER_ADDR)"
timed 'prometheus trip' ./prometheus.sh trip "$W/prom"
check 'webhook from the rule' "$(request 3 '[.body.status,.body.alerts[0].labels.alertname]|join(" ")')" 'firing PeerDown'
timed 'prometheus recover' ./prometheus.sh recover "$W/prom"
check 'webhook, resolved' "$(request 4 '[.body.status,.body.alerts[0].labels.alertname]|join(" ")')" 'resolved PeerDown'

./listener.sh clear "$W/l"
timed 'zabbix first start' ./zabbix.sh start "$W/zbx"
timed 'zabbix start again (running)' ./zabbix.sh start "$W/zbx"
timed 'zabbix stop' ./zabbix.sh stop "$W/zbx"
timed 'zabbix restart' ./zabbix.sh start "$W/zbx"
timed 'zabbix webhook' ./zabbix.sh webhook "$W/zbx" "$L/zbx" s3cret
timed 'zabbix trip' ./zabbix.sh trip "$W/zbx"
E=$(sed -n 's/^EVENTID=//p' "$W/out")
check 'problem webhook' "$(request 1 '[.body.event_status,.body.event_value,.body.event_id,.headers.authorization]|join(" ")')" \
  "PROBLEM 1 $E Bearer s3cret"
timed 'zabbix ack' ./zabbix.sh ack "$W/zbx" 'taking over'
check 'update webhook' "$(request 2 '[.body.event_update_status,.body.event_update_message]|join(" ")')" '1 taking over'
timed 'zabbix recover' ./zabbix.sh recover "$W/zbx"
check 'recovery webhook' "$(request 3 '[.body.event_status,.body.event_value,.body.event_id]|join(" ")')" "RESOLVED 0 $E"
timed 'zabbix stop' ./zabbix.sh stop "$W/zbx"

timed 'oidc start' env OIDC_REDIRECT_URL="$L/back" ./oidc.sh start "$W/oidc"
timed 'oidc start again (running)' env OIDC_REDIRECT_URL="$L/back" ./oidc.sh start "$W/oidc"
O=$(value oidc OIDC_ISSUER)
check 'oidc issuer' "$(curl --noproxy '*' -fsS "$O/.well-known/openid-configuration" | jq -r .issuer)" "$O"
timed 'oidc groups' ./oidc.sh groups "$W/oidc" pavel sre
check 'oidc pavel' "$(jq -c .u2 "$W/oidc/groups.json")" '["sre"]'
timed 'oidc stop' ./oidc.sh stop "$W/oidc"

timed 'browser install' ./browser.sh install "$W/br"
timed 'browser shot' ./browser.sh shot "$W/br" "$(value prom PROMETHEUS_URL)/graph" "$W/prometheus.png"
check 'page status' "$(sed -n 's/^SHOT_STATUS=//p' "$W/out")" 200
timed 'browser start' ./browser.sh start "$W/br"
timed 'browser stop' ./browser.sh stop "$W/br"

timed 'prometheus stop' ./prometheus.sh stop "$W/prom"
timed 'alertmanager stop' ./alertmanager.sh stop "$W/am"
finish
left=$(ps -eo pid=,args= | grep -F "$W/" | grep -vF selftest | grep -cv grep)
check 'processes left' "$left" 0

echo "$n checks, $bad bad"
[ $bad = 0 ] || exit 1
[ -n "${KEEP:-}" ] || rm -rf "$W"
