#!/bin/bash
# A real OpenID Connect provider (zitadel/oidc, see oidc/main.go) on 127.0.0.1:PORT.
#   oidc.sh start DIR [PORT]         prints OIDC_* facts; OIDC_REDIRECT_URL is where it may send browsers to
#   oidc.sh groups DIR USER [GROUP...]   says which groups a user is in from now on
#   oidc.sh stop DIR | status DIR
# Its users are olga (in ops) and pavel (in none); their password is in OIDC_PASSWORD.
source "$(dirname "$0")/lib.sh"

start() {
  need_pkgs setpriv:util-linux jq:jq curl:curl
  [ -n "${OIDC_REDIRECT_URL:-}" ] || die "OIDC_REDIRECT_URL is not set"
  init_dir "$1"
  if alive oidc && [ -s "$DIR/facts.env" ]; then
    same_port oidc "${2:-}"
    facts_print
    return
  fi
  choose_port oidc "${2:-}"
  local port=$PORT_OUT go password
  # lib.sh has its own PATH; the Go toolchain is where it was installed
  go=$(command -v go || echo /usr/local/go/bin/go)
  [ -x "$go" ] || die "there is no Go toolchain to build it with"
  say "building the provider"
  (cd "$HERE/oidc" && HOME=${HOME:-/root} GOFLAGS=-buildvcs=false "$go" build -o "$DIR/oidc" .) >"$DIR/log/build.log" 2>&1 || {
    tail -n 15 "$DIR/log/build.log" >&2
    die "the provider does not build"
  }
  password=$(secret password)
  jq -n --arg p "$password" '{u1:{ID:"u1",Username:"olga",Password:$p,FirstName:"Olga",LastName:"Peer",Email:"olga@example.com"},
    u2:{ID:"u2",Username:"pavel",Password:$p,FirstName:"Pavel",LastName:"Peer",Email:"admin@example.com"}}' >"$DIR/users.json"
  [ -s "$DIR/groups.json" ] || echo '{"u1":["ops"]}' >"$DIR/groups.json"
  CLEANUP=halt
  spawn oidc "$(who nobody)" "$DIR/oidc" "$port" "$OIDC_REDIRECT_URL" "$DIR/users.json" "$DIR/groups.json"
  wait_http oidc "http://127.0.0.1:$port/.well-known/openid-configuration" 30
  facts_write <<FACTS
OIDC_ISSUER=http://127.0.0.1:$port
OIDC_CLIENT_ID=akmatori
OIDC_CLIENT_SECRET=of-the-client
OIDC_PASSWORD=$password
OIDC_PID=$(pid_of oidc)
OIDC_LOG=$DIR/log/oidc.log
FACTS
  CLEANUP=
}
halt() { stop_daemon oidc; }

groups() { # USER [GROUP...]
  local id
  id=$(jq -r --arg u "$1" 'to_entries[]|select(.value.Username==$u)|.key' "$DIR/users.json")
  [ -n "$id" ] || die "there is no user $1"
  shift
  jq --arg id "$id" '.[$id]=$ARGS.positional' "$DIR/groups.json" --args "$@" >"$DIR/groups.json.new"
  chmod 644 "$DIR/groups.json.new"
  mv "$DIR/groups.json.new" "$DIR/groups.json"
}

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [PORT]"
    start "$@"
    ;;
  stop) stop_peer halt "$@" ;;
  status) peer_status "${1:-}" oidc ;;
  groups)
    [ $# -ge 2 ] || die "usage: $PROG groups DIR USER [GROUP...]"
    have_dir "$1"
    shift
    groups "$@"
    ;;
  *) die "usage: $PROG start DIR [PORT] | groups DIR USER [GROUP...] | stop DIR | status DIR" ;;
esac
