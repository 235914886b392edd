#!/bin/bash
# A real Prometheus (Debian's 2.42) on 127.0.0.1:PORT with one alert rule, PeerDown, that goes to an Alertmanager.
#   prometheus.sh start DIR [PORT [ALERTMANAGER_ADDR]]   ALERTMANAGER_ADDR as 127.0.0.1:9093 (or PROM_ALERTMANAGER); prints PROMETHEUS_* facts
#   prometheus.sh trip DIR       the scraped target goes away: up{job="peer"} becomes 0, PeerDown fires
#   prometheus.sh recover DIR    the target is back
#   prometheus.sh query DIR EXPR | reload DIR | stop DIR | status DIR
# Environment at start: PROM_RULES=FILE (other rules than the built-in one), PROM_INTERVAL (1s: scrape and evaluation),
#   PROM_FOR (0s), PROM_RESEND (10s: how often a firing alert is sent again; Alertmanager forgets it after 4 times that)
# The target is Prometheus itself under the instance name peer-host:9100; trip points it at a closed port.
source "$(dirname "$0")/lib.sh"
target() {
  printf '[{"targets":["%s"],"labels":{"instance":"peer-host:9100","service":"checkout"}}]\n' "$1" >"$DIR/etc/sd/target.tmp"
  mv "$DIR/etc/sd/target.tmp" "$DIR/etc/sd/target.json"
}
halt() { stop_daemon prometheus TERM 30; }
up() {
  alive prometheus || die "not running in $DIR"
  U=$(fact PROMETHEUS_URL)
}

config() { # PORT ALERTMANAGER
  install -d "$DIR/etc" "$DIR/etc/sd" "$DIR/data"
  ! is_root || chown "$PU" "$DIR/data"
  {
    printf 'global:\n  scrape_interval: %s\n  scrape_timeout: %s\n  evaluation_interval: %s\n  external_labels:\n    cluster: peers\n' "${PROM_INTERVAL:-1s}" "${PROM_INTERVAL:-1s}" "${PROM_INTERVAL:-1s}"
    printf 'rule_files: ["%s/etc/rules.yml"]\n' "$DIR"
    if [ -n "$2" ]; then printf 'alerting:\n  alertmanagers:\n  - static_configs:\n    - targets: ["%s"]\n' "$2"; fi
    printf 'scrape_configs:\n- job_name: peer\n  file_sd_configs:\n  - files: ["%s/etc/sd/target.json"]\n    refresh_interval: 1s\n' "$DIR"
  } >"$DIR/etc/prometheus.yml"
  if [ -n "${PROM_RULES:-}" ]; then
    cp "$PROM_RULES" "$DIR/etc/rules.yml"
  else
    cat >"$DIR/etc/rules.yml" <<RULES
groups:
- name: peers
  rules:
  - alert: PeerDown
    expr: up{job="peer"} == 0
    for: ${PROM_FOR:-0s}
    labels:
      severity: critical
    annotations:
      summary: "{{ \$labels.instance }} is down"
      description: "{{ \$labels.instance }} of {{ \$labels.service }} has not answered; up is {{ \$value }}."
      runbook_url: http://127.0.0.1/runbooks/peer-down
RULES
  fi
  [ -s "$DIR/etc/sd/target.json" ] && [ -e "$DIR/run/tripped" ] || target "127.0.0.1:$1"
  chmod 644 "$DIR/etc/rules.yml"
  promtool check config "$DIR/etc/prometheus.yml" >"$DIR/log/check.log" 2>&1 || {
    cat "$DIR/log/check.log" >&2
    die "the configuration is not valid"
  }
}

start() {
  need_pkgs setpriv:util-linux jq:jq curl:curl prometheus:prometheus promtool:prometheus
  local am=${3:-${PROM_ALERTMANAGER:-}} port
  am=${am#http://}
  am=${am%/}
  [ -z "$am" ] || [[ $am =~ ^[^/]+:[0-9]+$ ]] || die "not HOST:PORT: $am"
  init_dir "$1"
  PU=$(who prometheus)
  can_enter "$PU" "$DIR"
  if alive prometheus && [ -s "$DIR/facts.env" ]; then
    same_port prometheus "${2:-}"
    facts_print
    return
  fi
  choose_port prometheus "${2:-}"
  port=$PORT_OUT
  config "$port" "$am"
  CLEANUP=halt
  spawn prometheus "$PU" prometheus --config.file="$DIR/etc/prometheus.yml" --storage.tsdb.path="$DIR/data" --storage.tsdb.retention.time=1d \
    --web.listen-address="127.0.0.1:$port" --web.external-url="http://127.0.0.1:$port" --web.enable-lifecycle --rules.alert.resend-delay="${PROM_RESEND:-10s}"
  wait_http prometheus "http://127.0.0.1:$port/-/ready" 30
  local i
  for ((i = 0; i < 100; i++)); do
    [ "$(get "http://127.0.0.1:$port/api/v1/query?query=up" | jq '.data.result|length')" != 0 ] && break
    sleep 0.1
  done
  facts_write <<FACTS
PROMETHEUS_URL=http://127.0.0.1:$port
PROMETHEUS_VERSION=$(get "http://127.0.0.1:$port/api/v1/status/buildinfo" | jq -r .data.version)
PROMETHEUS_ALERTMANAGER=$am
PROMETHEUS_RULE=PeerDown
PROMETHEUS_TARGET=peer-host:9100
PROMETHEUS_CONFIG=$DIR/etc/prometheus.yml
PROMETHEUS_PID=$(pid_of prometheus)
PROMETHEUS_LOG=$DIR/log/prometheus.log
FACTS
  CLEANUP=
}
# flip 0|1: change the target, wait for `up` and for the rule to follow
# shellcheck disable=SC2178,SC2128
flip() {
  local want=$1 i got=0 t0=$EPOCHREALTIME addr=127.0.0.1:1
  [ "$want" = 0 ] && touch "$DIR/run/tripped" || {
    addr=${U#http://}
    rm -f "$DIR/run/tripped"
  }
  target "$addr"
  for ((i = 0; i < 150; i++)); do
    got=$(get "$U/api/v1/query?query=up%7Bjob%3D%22peer%22%7D" | jq -r '.data.result|map(.value[1])|join(",")')
    if [ "$got" = "$want" ]; then
      [ -n "${NORULE:-}" ] || got=$(get "$U/api/v1/alerts" | jq -r '[.data.alerts[]|select(.labels.alertname=="PeerDown" and .state=="firing")]|if length==0 then "1" else "0" end')
      [ "$got" = "$want" ] && break
    fi
    sleep 0.2
  done
  [ "$got" = "$want" ] || die "the state did not become $want, see $U/alerts"
  awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN{printf "SECONDS=%.1f\n", b-a}'
}

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [PORT [ALERTMANAGER_ADDR]]"
    start "$@"
    ;;
  stop) stop_peer halt "$@" ;;
  status) peer_status "${1:-}" prometheus ;;
  trip)
    have_dir "${1:-}"
    up
    ! grep -q PeerDown "$DIR/etc/rules.yml" && NORULE=1
    flip 0
    ;;
  recover)
    have_dir "${1:-}"
    up
    ! grep -q PeerDown "$DIR/etc/rules.yml" && NORULE=1
    flip 1
    ;;
  reload)
    have_dir "${1:-}"
    up
    promtool check config "$DIR/etc/prometheus.yml" >&2
    get -X POST "$U/-/reload"
    ;;
  query)
    have_dir "${1:-}"
    up
    get -G --data-urlencode "query=${2:?EXPR missing}" "$U/api/v1/query" | jq .data.result
    ;;
  *) die "usage: $PROG start DIR [PORT [ALERTMANAGER_ADDR]] | trip DIR | recover DIR | query DIR EXPR | reload DIR | stop DIR | status DIR" ;;
esac
