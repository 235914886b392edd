#!/bin/bash
# Debian's chromium with playwright-core (npm, in DIR): screenshots and scripted browsing of pages on 127.0.0.1.
#   browser.sh install DIR                         packages and playwright-core only
#   browser.sh shot DIR URL OUT.png [WIDTHxHEIGHT] a fresh browser, one screenshot (1280x800); prints title, status, bytes
#   browser.sh rawshot DIR URL OUT.png [WxH]       the same with chromium alone, without node
#   browser.sh run DIR SCRIPT.mjs [ARGS...]        runs SCRIPT with playwright-core in reach: import { open } from process.env.BROWSER_LIB (browser-lib.mjs)
#   browser.sh start DIR [PORT]                    a browser that stays, with the DevTools protocol on 127.0.0.1:PORT; prints BROWSER_*
#   browser.sh stop DIR | status DIR
# Environment: PLAYWRIGHT_VERSION (1.65.1, needs node 20 or newer), SHOT_WAIT (CSS selector to wait for), SHOT_DELAY (ms), SHOT_FULL=1 (whole page),
#   SHOT_COOKIE='name=value' (for the URL), SHOT_HEADER='Name: value'
source "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2054
FLAGS=(--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
  --disable-sync --disable-dev-shm-usage --disable-breakpad --no-default-browser-check --no-proxy-server --hide-scrollbars --force-color-profile=srgb
  --disable-features=OptimizationHints,MediaRouter,Translate --metrics-recording-only --disable-domain-reliability
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost') # nothing but this machine can be reached

install_all() {
  need_pkgs curl:curl jq:jq /usr/bin/chromium:chromium /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf:fonts-dejavu-core node:nodejs npm:npm
  local v=${PLAYWRIGHT_VERSION:-1.65.1} t0=$SECONDS
  if [ "$(jq -r .version "$DIR/node_modules/playwright-core/package.json" 2>/dev/null)" != "$v" ]; then
    [ -e "$DIR/package.json" ] || echo '{"name":"browser","private":true}' >"$DIR/package.json"
    (cd "$DIR" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --ignore-scripts --no-audit --no-fund --loglevel=error "playwright-core@$v" >"$DIR/log/npm.log" 2>&1 9>&-) || {
      tail -n 15 "$DIR/log/npm.log" >&2
      die "npm install playwright-core@$v failed"
    }
    say "installed playwright-core $v in $((SECONDS - t0)) s"
  fi
  printf '%s\n' "${FLAGS[@]}" | jq -Rn '[inputs]' >"$DIR/flags.json"
  cp "$HERE/browser-lib.mjs" "$HERE/shot.mjs" "$DIR/"
}
png() { [ "$(head -c 8 "$1" 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || die "no PNG in $1"; }
abs() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac }
# node_env cmd...: with a temporary directory of its own, removed afterwards (chromium leaves things behind)
node_env() {
  local rc=0
  W=$(mktemp -d "$DIR/tmp/XXXXXX")
  env -u NODE_OPTIONS TMPDIR="$W" HOME="$W" BROWSER_LIB="$DIR/browser-lib.mjs" "$@" 9>&- || rc=$?
  rm -rf "$W"
  return $rc
}
halt() {
  stop_daemon chromium TERM 10
  rm -rf "$DIR/profile"
}

cmd=${1:-}
shift || true
case $cmd in
  install)
    init_dir "${1:-}"
    install_all
    echo "BROWSER_LIB=$DIR/browser-lib.mjs"
    echo "BROWSER_BIN=/usr/bin/chromium"
    ;;
  shot | rawshot)
    [ $# -ge 3 ] || die "usage: $PROG $cmd DIR URL OUT.png [WxH]"
    url=$2
    out=$(abs "$3")
    size=${4:-1280x800}
    [[ $size =~ ^[0-9]+x[0-9]+$ ]] || die "not WIDTHxHEIGHT: $size"
    init_dir "$1"
    install_all
    flock -u 9
    mkdir -p "$DIR/tmp"
    rm -f "$out"
    if [ $cmd = shot ]; then
      node_env timeout -k 5 90 node "$DIR/shot.mjs" "$url" "$out" "$size" || die "no screenshot of $url"
    else
      node_env bash -c 'exec timeout -k 5 90 chromium --user-data-dir="$TMPDIR/profile" "$@"' - "${FLAGS[@]}" --window-size="${size/x/,}" --timeout=20000 --screenshot="$out" "$url" >"$DIR/log/chromium-raw.log" 2>&1 </dev/null || {
        log_tail chromium-raw
        die "chromium failed"
      }
      echo "SHOT=$out"
    fi
    png "$out"
    ;;
  run)
    [ $# -ge 2 ] || die "usage: $PROG run DIR SCRIPT.mjs [ARGS...]"
    s=$(abs "$2")
    [ -s "$s" ] || die "no script $s"
    init_dir "$1"
    install_all
    flock -u 9
    mkdir -p "$DIR/tmp"
    shift 2
    node_env node "$s" "$@" || die "$s failed"
    ;;
  start)
    init_dir "${1:-}"
    install_all
    mkdir -p "$DIR/tmp"
    if alive chromium && [ -s "$DIR/facts.env" ]; then
      same_port chromium "${2:-}"
      facts_print
      exit 0
    fi
    choose_port chromium "${2:-}"
    rm -rf "$DIR/profile"
    mkdir -p "$DIR/profile"
    CLEANUP=halt
    EXTRA_ENV=(TMPDIR="$DIR/tmp")
    spawn chromium root chromium "${FLAGS[@]}" --user-data-dir="$DIR/profile" --remote-debugging-address=127.0.0.1 --remote-debugging-port="$PORT_OUT" about:blank
    wait_http chromium "http://127.0.0.1:$PORT_OUT/json/version" 30
    v=$(curl --noproxy '*' -fsS "http://127.0.0.1:$PORT_OUT/json/version")
    facts_write <<FACTS
BROWSER_CDP=http://127.0.0.1:$PORT_OUT
BROWSER_WS=$(jq -r .webSocketDebuggerUrl <<<"$v")
BROWSER_VERSION=$(jq -r .Browser <<<"$v")
BROWSER_BIN=/usr/bin/chromium
BROWSER_LIB=$DIR/browser-lib.mjs
BROWSER_PID=$(pid_of chromium)
FACTS
    CLEANUP=
    ;;
  stop) stop_peer halt "$@" ;;
  status) peer_status "${1:-}" chromium ;;
  *) die "usage: $PROG install DIR | shot DIR URL OUT.png [WxH] | rawshot DIR URL OUT.png [WxH] | run DIR SCRIPT.mjs | start DIR [PORT] | stop DIR | status DIR" ;;
esac
