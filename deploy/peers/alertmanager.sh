#!/bin/bash
# A real Prometheus Alertmanager (Debian's 0.25) on 127.0.0.1:PORT with one webhook receiver.
#   alertmanager.sh start DIR [PORT]                    prints ALERTMANAGER_* facts
#   alertmanager.sh webhook DIR URL [--bearer TOKEN | --basic USER:PASSWORD]   sets the receiver, reloads; URL 'none' = no receiver
#   alertmanager.sh fire DIR NAME [LABEL=VALUE...] [@ANNOTATION=VALUE...]      posts an alert to API v2
#   alertmanager.sh resolve DIR NAME [LABEL=VALUE...]   ends it (same labels as in fire)
#   alertmanager.sh silence DIR NAME [MINUTES] | alerts DIR | stop DIR | status DIR
# Environment, read at start and at webhook: AM_WEBHOOK_URL, AM_BEARER, AM_BASIC; AM_GROUP_BY ("alertname, instance"),
#   AM_GROUP_WAIT (1s), AM_GROUP_INTERVAL (2s), AM_REPEAT (1h), AM_RESOLVE_TIMEOUT (24h), AM_MAX_ALERTS (0 = all);
#   at start AM_LOG_LEVEL (debug)
source "$(dirname "$0")/lib.sh"
MATCH='^[a-zA-Z_][a-zA-Z0-9_]*$'

q() { jq -Rn --arg s "$1" '$s'; } # a YAML (and JSON) string
config() {                        # URL BEARER USER:PASSWORD
  local url=$1 bearer=$2 basic=$3
  (
    umask 077
    {
      printf 'global:\n  resolve_timeout: %s\n' "${AM_RESOLVE_TIMEOUT:-24h}"
      printf 'route:\n  receiver: peers\n  group_by: [%s]\n  group_wait: %s\n  group_interval: %s\n  repeat_interval: %s\n' "${AM_GROUP_BY:-alertname, instance}" "${AM_GROUP_WAIT:-1s}" "${AM_GROUP_INTERVAL:-2s}" "${AM_REPEAT:-1h}"
      printf 'receivers:\n- name: peers\n'
      if [ -n "$url" ] && [ "$url" != none ]; then
        printf '  webhook_configs:\n  - url: %s\n    send_resolved: true\n    max_alerts: %s\n' "$(q "$url")" "${AM_MAX_ALERTS:-0}"
        if [ -n "$bearer" ]; then
          printf '    http_config:\n      authorization:\n        type: Bearer\n        credentials: %s\n' "$(q "$bearer")"
        elif [ -n "$basic" ]; then printf '    http_config:\n      basic_auth:\n        username: %s\n        password: %s\n' "$(q "${basic%%:*}")" "$(q "${basic#*:}")"; fi
      fi
    } >"$DIR/etc/alertmanager.yml.new"
  )
  amtool check-config "$DIR/etc/alertmanager.yml.new" >"$DIR/log/check.log" 2>&1 || {
    cat "$DIR/log/check.log" >&2
    die "the configuration is not valid"
  }
  ! is_root || chown "$AU" "$DIR/etc/alertmanager.yml.new"
  mv "$DIR/etc/alertmanager.yml.new" "$DIR/etc/alertmanager.yml"
}

start() {
  need_pkgs setpriv:util-linux jq:jq curl:curl prometheus-alertmanager:prometheus-alertmanager
  init_dir "$1"
  AU=$(who prometheus)
  can_enter "$AU" "$DIR"
  if alive alertmanager && [ -s "$DIR/facts.env" ]; then
    same_port alertmanager "${2:-}"
    facts_print
    return
  fi
  choose_port alertmanager "${2:-}"
  local port=$PORT_OUT
  install -d "$DIR/etc" "$DIR/data" "$DIR/alerts"
  ! is_root || chown "$AU" "$DIR/data"
  if [ -n "${AM_WEBHOOK_URL:-}" ] || [ ! -s "$DIR/etc/alertmanager.yml" ]; then config "${AM_WEBHOOK_URL:-none}" "${AM_BEARER:-}" "${AM_BASIC:-}"; fi
  CLEANUP=halt
  # no cluster port, and no look-up of this machine's public address
  spawn alertmanager "$AU" prometheus-alertmanager --config.file="$DIR/etc/alertmanager.yml" --storage.path="$DIR/data" \
    --web.listen-address="127.0.0.1:$port" --web.external-url="http://127.0.0.1:$port" --cluster.listen-address= --log.level="${AM_LOG_LEVEL:-debug}"
  wait_http alertmanager "http://127.0.0.1:$port/-/ready" 20
  facts_write <<FACTS
ALERTMANAGER_URL=http://127.0.0.1:$port
ALERTMANAGER_ADDR=127.0.0.1:$port
ALERTMANAGER_VERSION=$(get "http://127.0.0.1:$port/api/v2/status" | jq -r .versionInfo.version)
ALERTMANAGER_CONFIG=$DIR/etc/alertmanager.yml
ALERTMANAGER_PID=$(pid_of alertmanager)
ALERTMANAGER_LOG=$DIR/log/alertmanager.log
FACTS
  CLEANUP=
}
halt() { stop_daemon alertmanager; }
up() {
  alive alertmanager || die "not running in $DIR"
  U=$(fact ALERTMANAGER_URL)
}

post() { # fire|resolve NAME [k=v] [@k=v]
  local what=$1 name=$2
  shift 2
  local -a l=() n=()
  local a k f body
  for a in "$@"; do
    k=${a%%=*}
    [[ $a == *=* ]] || die "not LABEL=VALUE: $a"
    if [[ $a == @* ]]; then
      k=${k#@}
      n+=("$k" "${a#*=}")
    else l+=("$k" "${a#*=}"); fi
    [[ $k =~ $MATCH ]] || die "not a label name: $k"
  done
  local labels ann
  labels=$(jq -nc --arg n "$name" '$ARGS.positional as $p|reduce range(0;$p|length;2) as $i ({}; .[$p[$i]]=$p[$i+1])|{alertname:$n,severity:"critical",instance:"peer-host:9100"} + .' --args ${l[@]+"${l[@]}"})
  ann=$(jq -nc --arg n "$name" '$ARGS.positional as $p|reduce range(0;$p|length;2) as $i ({}; .[$p[$i]]=$p[$i+1])|{summary:("Test alert "+$n)} + .' --args ${n[@]+"${n[@]}"})
  # an end must come with the start it belongs to: Alertmanager merges by labels and overlapping time
  f="$DIR/alerts/$(jq -cS . <<<"$labels" | sha1sum | cut -c1-16).json"
  if [ "$what" = fire ]; then
    [ -s "$f" ] && body=$(cat "$f") || body=$(jq -nc --argjson l "$labels" --argjson a "$ann" --arg s "$(date -u +%FT%T.%3NZ)" '{labels:$l,annotations:$a,startsAt:$s,generatorURL:"http://127.0.0.1/graph?g0.expr=up"}')
    [ ${#n[@]} -eq 0 ] || body=$(jq -c --argjson a "$ann" '.annotations=$a' <<<"$body")
    echo "$body" >"$f"
  else
    [ -s "$f" ] || die "no such alert was fired: $labels"
    body=$(jq -c --arg e "$(date -u +%FT%T.%3NZ)" '.endsAt=$e' "$f")
    rm -f "$f"
  fi
  get -H 'Content-Type: application/json' -d "[$body]" "$U/api/v2/alerts" || die "Alertmanager refused: $body"
  jq -r '"ALERTNAME=\(.labels.alertname)\nSTARTS_AT=\(.startsAt)\nENDS_AT=\(.endsAt // "")"' <<<"$body"
}

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [PORT]"
    start "$@"
    ;;
  stop) stop_peer halt "$@" ;;
  status) peer_status "${1:-}" alertmanager ;;
  webhook)
    [ $# -ge 2 ] || die "usage: $PROG webhook DIR URL [--bearer TOKEN | --basic USER:PASSWORD]"
    have_dir "$1"
    up
    AU=$(who prometheus)
    url=$2
    b=${AM_BEARER:-} a=${AM_BASIC:-}
    shift 2
    while [ $# -gt 0 ]; do case $1 in --bearer)
      b=${2:?TOKEN missing}
      a=
      shift 2
      ;;
    --basic)
      a=${2:?USER:PASSWORD missing}
      b=
      shift 2
      ;;
    *) die "unknown option $1" ;; esac done
    config "$url" "$b" "$a"
    get -X POST "$U/-/reload" >/dev/null || die "reload failed, see $DIR/log/alertmanager.log"
    echo "WEBHOOK_URL=$url"
    ;;
  fire | resolve)
    [ $# -ge 2 ] || die "usage: $PROG $cmd DIR NAME [LABEL=VALUE...] [@ANNOTATION=VALUE...]"
    have_dir "$1"
    up
    shift
    post "$cmd" "$@"
    ;;
  silence)
    have_dir "${1:-}"
    up
    echo "SILENCE_ID=$(amtool --alertmanager.url="$U" silence add --duration="${3:-10}m" --author=peers --comment=test "alertname=${2:?NAME missing}")"
    ;;
  alerts)
    have_dir "${1:-}"
    up
    get "$U/api/v2/alerts" | jq -c '.[]|{name:.labels.alertname,state:.status.state,startsAt,endsAt,fingerprint,labels}'
    ;;
  *) die "usage: $PROG start DIR [PORT] | webhook DIR URL [--bearer T|--basic U:P] | fire DIR NAME [L=V..] [@A=V..] | resolve DIR NAME [L=V..] | silence DIR NAME [MIN] | alerts DIR | stop DIR | status DIR" ;;
esac
