#!/bin/bash
# A tiny HTTP listener for checks: saves each request it gets as DIR/got/NNN.json.
#   listener.sh start DIR [PORT]   environment LISTEN_STATUS=200 or 503,503,200: statuses to answer, the last one stays
#   listener.sh stop DIR | clear DIR
#   listener.sh wait DIR N [SECONDS]   until N requests are there (30 s), prints the file of request N
source "$(dirname "$0")/lib.sh"
cmd=${1:-}
shift || true
case $cmd in
  start)
    need_pkgs node:nodejs curl:curl
    init_dir "${1:-}"
    mkdir -p "$DIR/got"
    if alive listener; then
      same_port listener "${2:-}"
      facts_print
      exit 0
    fi
    choose_port listener "${2:-}"
    spawn listener root node "$HERE/listener.js" "$PORT_OUT" "$DIR/got" "${LISTEN_STATUS:-200}"
    wait_tcp listener "$PORT_OUT" 10
    facts_write <<FACTS
LISTENER_URL=http://127.0.0.1:$PORT_OUT
LISTENER_GOT=$DIR/got
FACTS
    ;;
  stop)
    [ -n "${1:-}" ] || die "DIR missing"
    [ -d "$1/run" ] || exit 0
    init_dir "$1"
    stop_daemon listener
    say "stopped $DIR"
    ;;
  clear)
    have_dir "${1:-}"
    rm -f "$DIR"/got/*.json
    ;;
  wait)
    have_dir "${1:-}"
    n=$(printf '%03d' "$((10#${2:?N}))")
    for ((i = 0; i < ${3:-30} * 10; i++)); do
      [ -s "$DIR/got/$n.json" ] && {
        echo "$DIR/got/$n.json"
        exit 0
      }
      sleep 0.1
    done
    die "no request $n after ${3:-30} s"
    ;;
  *) die "usage: $PROG start DIR [PORT] | stop DIR | clear DIR | wait DIR N [SECONDS]" ;;
esac
