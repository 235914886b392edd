#!/bin/bash
# A PostgreSQL of its own under DIR, on a unix socket and 127.0.0.1:PORT.
#   postgres.sh start DIR [PORT]       prints PG* facts and DATABASE_URL
#   postgres.sh stop DIR | crash DIR (SIGQUIT, no checkpoint) | status DIR | destroy DIR
#   postgres.sh psql DIR [ARGS...]     psql as the superuser
#   postgres.sh createdb DIR NAME      makes NAME if missing
# Environment, read at the first start of DIR: PG_AUTH=scram|trust (scram), PG_USER (peer), PG_DB (peer),
#   PG_OS_USER (postgres). Read at every start: PG_FSYNC=off|on (off), PG_MAX_CONN (100),
#   PG_EXTRA (more postgresql.conf lines).
source "$(dirname "$0")/lib.sh"

find_bin() {
  local d
  for d in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr); do [ -x "$d/initdb" ] && [ -x "$d/postgres" ] && {
    BIN=$d
    return
  }; done
  apt_install postgresql
  d=$(ls -d /usr/lib/postgresql/*/bin | sort -Vr | head -n1)
  [ -x "$d/initdb" ] || die "no initdb after installing"
  BIN=$d
}
pg_pid() { [ -s "$DIR/data/postmaster.pid" ] && head -n1 "$DIR/data/postmaster.pid"; }
running() { as "$OSU" "$BIN/pg_ctl" -D "$DIR/data" status >/dev/null 2>&1; }
os_user() { OSU=$(cat "$DIR/run/os_user" 2>/dev/null || who "${PG_OS_USER:-postgres}"); }

start() {
  find_bin
  need_pkgs setpriv:util-linux
  init_dir "$1"
  OSU=$(who "${PG_OS_USER:-postgres}")
  [ "$OSU" != root ] || die "PostgreSQL refuses to run as root: PG_OS_USER must be another user"
  [ $((${#DIR} + 22)) -le 107 ] || die "DIR is too long for a unix socket (at most 85 characters): $DIR"
  echo "$OSU" >"$DIR/run/os_user"
  can_enter "$OSU" "$DIR"
  if [ -s "$DIR/data/PG_VERSION" ] && running; then
    same_port postgres "${2:-}"
    facts_print
    return
  fi
  CLEANUP=halt
  choose_port postgres "${2:-}"
  local port=$PORT_OUT auth=${PG_AUTH:-scram} user=${PG_USER:-peer} db=${PG_DB:-peer} pw
  case $auth in scram | scram-sha-256) auth=scram-sha-256 ;; trust) ;; *) die "PG_AUTH must be scram or trust" ;; esac
  if [ ! -s "$DIR/data/PG_VERSION" ]; then
    rm -rf "$DIR/data"
    install -d -m 700 "$DIR/data"
    install -d -m 755 "$DIR/s"
    pw=$(secret password)
    printf '%s' "$auth" >"$DIR/run/auth"
    printf '%s' "$user" >"$DIR/run/user"
    printf '%s' "$db" >"$DIR/run/db"
    local pwf="$DIR/run/pw"
    (
      umask 077
      printf '%s\n' "$pw" >"$pwf"
    )
    if is_root; then chown "$OSU" "$DIR/data" "$DIR/s" "$pwf"; fi
    as "$OSU" "$BIN/initdb" -D "$DIR/data" -U "$user" -E UTF8 --locale=C.UTF-8 --no-sync \
      --auth-local=trust --auth-host="$auth" --pwfile="$pwf" >"$DIR/log/initdb.log" 2>&1 || {
      tail -n 15 "$DIR/log/initdb.log" >&2
      rm -f "$pwf"
      rm -rf "$DIR/data"
      die "initdb failed"
    }
    rm -f "$pwf"
    if [ "$auth" = trust ]; then :; else # the superuser over the socket: only root and the OS user of the cluster; all else with a password
      printf 'local all %s peer map=peers\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all peer map=peers\nhost replication all 127.0.0.1/32 scram-sha-256\n' "$user" >"$DIR/data/pg_hba.conf"
      printf 'peers %s %s\npeers root %s\n' "$OSU" "$user" "$user" >"$DIR/data/pg_ident.conf"
    fi
  fi
  auth=$(cat "$DIR/run/auth")
  user=$(cat "$DIR/run/user")
  db=$(cat "$DIR/run/db")
  pw=$(secret password)
  local fs=${PG_FSYNC:-off}
  [[ $fs = on || $fs = off ]] || die "PG_FSYNC must be on or off"
  cat >"$DIR/data/postgresql.auto.conf" <<CONF
# written at each start by postgres.sh
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$DIR/s'
max_connections = ${PG_MAX_CONN:-100}
fsync = $fs
synchronous_commit = $fs
full_page_writes = $fs
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
${PG_EXTRA:-}
CONF
  touch "$DIR/log/postgres.log"
  if is_root; then chown "$OSU" "$DIR/log/postgres.log" "$DIR/data/postgresql.auto.conf" "$DIR/s"; fi
  as "$OSU" "$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log/postgres.log" -w -t 60 start >"$DIR/log/pg_ctl.log" 2>&1 9>&- || {
    log_tail pg_ctl
    log_tail postgres
    die "PostgreSQL did not start"
  }
  mkdb "$db" "$port" "$user"
  local dsn="postgres://$user:$pw@127.0.0.1:$port/$db?sslmode=disable"
  facts_write <<FACTS
PGHOST=127.0.0.1
PGPORT=$port
PGUSER=$user
PGPASSWORD=$pw
PGDATABASE=$db
PGSSLMODE=disable
PG_SOCKET_DIR=$DIR/s
DATABASE_URL=$dsn
DATABASE_URL_SOCKET=postgres:///$db?host=$DIR/s&port=$port&user=$user&password=$pw&sslmode=disable
PG_AUTH=$auth
PG_FSYNC=$fs
PG_VERSION=$("$BIN/postgres" --version | awk '{print $3}')
PG_BIN=$BIN
PG_OS_USER=$OSU
PG_PID=$(pg_pid)
PG_LOG=$DIR/log/postgres.log
FACTS
  CLEANUP=
}
halt() { ! running || as "$OSU" "$BIN/pg_ctl" -D "$DIR/data" -m "${1:-fast}" -w -t 60 stop >/dev/null; }
sock() { env PGPASSWORD="$(cat "$DIR/password")" PGOPTIONS= PGSSLMODE=disable "$BIN/psql" -X -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U "$2" "${@:3}"; }
mkdb() { [ "$(sock "$2" "$3" -d postgres -Atc "select 1 from pg_database where datname='$1'")" = 1 ] || sock "$2" "$3" -d postgres -qc "create database \"$1\""; }

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [PORT]"
    start "$@"
    ;;
  stop | crash)
    [ -n "${1:-}" ] || die "DIR missing"
    [ -s "$1/data/PG_VERSION" ] || {
      say "nothing in $1"
      exit 0
    }
    have_dir "$1"
    os_user
    find_bin
    mode=fast
    [ "$cmd" = stop ] || mode=immediate
    halt $mode || die "pg_ctl stop failed"
    say "stopped $DIR"
    ;;
  destroy)
    "$0" stop "$1"
    have_dir "$1"
    [ -s "$DIR/data/PG_VERSION" ] || die "$DIR holds no cluster"
    rm -rf "$DIR/data" "$DIR/s" "$DIR/run" "$DIR/log" "$DIR/facts.env" "$DIR/password" "$DIR/.lock"
    rmdir "$DIR" 2>/dev/null || true
    ;;
  status)
    have_dir "${1:-}"
    os_user
    find_bin
    if running; then
      echo RUNNING=1
      facts_print
    else
      echo RUNNING=0
      exit 3
    fi
    ;;
  psql)
    have_dir "${1:-}"
    shift
    find_bin
    sock "$(fact PGPORT)" "$(fact PGUSER)" -d "${PGDATABASE:-$(fact PGDATABASE)}" "$@"
    ;;
  createdb)
    have_dir "${1:-}"
    [ -n "${2:-}" ] || die "name missing"
    find_bin
    mkdb "$2" "$(fact PGPORT)" "$(fact PGUSER)"
    ;;
  *) die "usage: $PROG start DIR [PORT] | stop DIR | crash DIR | status DIR | destroy DIR | psql DIR [ARGS] | createdb DIR NAME" ;;
esac
