# shellcheck shell=bash disable=SC2034,SC2154
# Shared helpers for the peer scripts. Source it; it is not a program.
# Conventions: facts (KEY=VALUE) go to stdout, everything else to stderr.
set -Eeuo pipefail
umask 022
# Tools in a fixed place; no surprises from the caller's PATH (pyenv shims and the like).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
PROG=${0##*/}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

say() { printf '%s: %s\n' "$PROG" "$*" >&2; }
# die: inside $( ) it ends only that subshell, with 90: "already reported" for the trap of the script itself
die() {
  printf '%s: ERROR: %s\n' "$PROG" "$*" >&2
  [ "$BASH_SUBSHELL" -eq 0 ] || exit 90
  exit 1
}
# errtrace (-E) runs the trap in $( ) subshells as well: report there only once.
trap 'rc=$?; [ "$BASH_SUBSHELL" -eq 0 ] || exit $rc; [ $rc -ne 90 ] || exit 1; [ $rc -ne 141 ] || exit 141; printf "%s: ERROR: line %s failed (exit %s): %s\n" "$PROG" "$LINENO" "$rc" "$BASH_COMMAND" >&2; exit $rc' ERR

# A start that fails must leave nothing running: set CLEANUP to a command while starting, and clear it at the end.
CLEANUP=
trap 'rc=$?; if [ $rc -ne 0 ] && [ -n "$CLEANUP" ]; then c=$CLEANUP; CLEANUP=; trap - ERR; set +e; $c; fi' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

is_root() { [ "$(id -u)" = 0 ]; }

# missing_pkgs PROBE:PACKAGE...   sets MISSING to each PACKAGE whose PROBE (a command, or a path pattern) is not there
missing_pkgs() {
  local spec probe
  MISSING=()
  for spec in "$@"; do
    probe=${spec%%:*}
    if [[ $probe == */* ]]; then
      compgen -G "$probe" >/dev/null || MISSING+=("${spec#*:}")
    else command -v "$probe" >/dev/null 2>&1 || MISSING+=("${spec#*:}"); fi
  done
}
# need_pkgs PROBE:PACKAGE...   installs what is missing
need_pkgs() {
  missing_pkgs "$@"
  [ ${#MISSING[@]} -eq 0 ] && return 0
  is_root || die "missing Debian packages: ${MISSING[*]}; run once as root, or install them"
  apt_install "${MISSING[@]}"
}

boot_links() { {
  find /etc/systemd/system -type l 2>/dev/null
  find /etc/init.d -type f 2>/dev/null
} | sort; }
apt_install() {
  command -v apt-get >/dev/null || die "no apt-get here; install by hand: $*"
  local lock=/run/lock/peers-apt.lock log policy=/usr/sbin/policy-rc.d mine=0 rc=0 t0=$SECONDS
  local links new
  links=$(boot_links)
  mkdir -p /run/lock
  log=$(mktemp /tmp/peers-apt.XXXXXX)
  exec 8>"$lock"
  flock 8
  # Packages must not start services: deny it while we install (policy-rc.d is Debian's switch).
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    mine=1
  fi
  local -a inst=(apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@")
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "${inst[@]}" >"$log" 2>&1 </dev/null 8>&- || rc=$?
  if [ $rc -ne 0 ]; then # stale or empty package lists: refresh once, try again
    rc=0
    apt-get -o DPkg::Lock::Timeout=600 update >>"$log" 2>&1 </dev/null 8>&- || true
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "${inst[@]}" >>"$log" 2>&1 </dev/null 8>&- || rc=$?
  fi
  [ $mine = 0 ] || rm -f $policy
  # nor shall they start at the next boot: undo what the packages have just enabled (new links only)
  while read -r new; do
    case $new in '') ;; /etc/init.d/*) update-rc.d "${new##*/}" disable >>"$log" 2>&1 || true ;; *) rm -f "$new" ;; esac
  done < <(comm -13 <(printf '%s\n' "$links") <(boot_links))
  exec 8>&-
  if [ $rc -ne 0 ]; then
    tail -n 15 "$log" >&2
    die "apt-get install $* failed (exit $rc), log: $log"
  fi
  rm -f "$log"
  say "installed $* in $((SECONDS - t0)) s"
}

# init_dir DIR : makes DIR absolute and sets DIR, takes a lock per DIR
init_dir() {
  [ -n "${1:-}" ] || die "DIR missing"
  mkdir -p "$1/log" "$1/run" || die "cannot make $1"
  DIR=$(cd "$1" && pwd -P)
  [[ $DIR =~ ^[A-Za-z0-9_./@%+,:-]+$ ]] || die "DIR has characters that do not fit in configuration files: $DIR"
  chmod a+rx "$DIR" "$DIR/log" "$DIR/run"
  exec 9>"$DIR/.lock"
  flock -w 300 9 || die "another $PROG holds $DIR/.lock"
}
# have_dir DIR: the same for commands that need an existing DIR
have_dir() {
  [ -n "${1:-}" ] || die "DIR missing"
  [ -d "$1" ] || die "no such directory: $1"
  DIR=$(cd "$1" && pwd -P)
}

# can_enter USER PATH: USER must be able to walk to PATH (0700 parents such as mktemp -d's break it)
can_enter() {
  local user=$1 path=$2 p=
  is_root || return 0
  as "$user" test -x "$path" && return 0
  local IFS=/ part
  for part in $path; do
    p="$p/$part"
    p=${p//\/\//\/}
    as "$user" test -x "$p" || die "user $user cannot enter $p (mode $(stat -c '%a %U' "$p")); choose a DIR below world-traversable directories, or chmod a+x $p"
  done
  die "user $user cannot enter $path"
}

# as USER cmd... : run in the foreground as USER with a clean environment
as() {
  local user=$1
  shift
  if is_root && [ "$user" != root ]; then
    env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="${DIR:-/}" ${EXTRA_ENV[@]+"${EXTRA_ENV[@]}"} \
      setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups "$@"
  else env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="${DIR:-/}" USER="$(id -un)" ${EXTRA_ENV[@]+"${EXTRA_ENV[@]}"} "$@"; fi
}
EXTRA_ENV=()

# who USER: USER when root (checked to exist), else the current user
who() { if is_root; then
  id -u "$1" >/dev/null 2>&1 || die "no user $1"
  echo "$1"
else id -un; fi; }

start_ticks() {
  local s
  s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  s=${s##*) }
  set -- $s
  [ "$1" != Z ] || return 1
  echo "${20}"
}

# spawn NAME USER cmd... : background daemon in a session of its own; pid file run/NAME.pid ("pid ticks")
spawn() {
  local name=$1 user=$2 gid
  shift 2
  local -a pre=()
  if is_root && [ "$user" != root ]; then
    gid=$(id -g "$user")
    pre=(setpriv --reuid="$user" --regid="$gid" --init-groups --no-new-privs)
  fi
  (
    exec 9>&- </dev/null >>"$DIR/log/$name.log" 2>&1
    trap - ERR
    cd "${SPAWN_CWD:-$DIR}"
    exec env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="$DIR" TZ="${PEERS_TZ:-UTC}" ${EXTRA_ENV[@]+"${EXTRA_ENV[@]}"} setsid "${pre[@]}" "$@"
  ) &
  local pid=$! t
  disown
  t=$(start_ticks $pid) || t=0
  echo "$pid $t" >"$DIR/run/$name.pid"
}

# alive NAME : true if the very process we started still runs (start time compared: pids get reused)
alive() {
  local pid t
  [ -s "$DIR/run/$1.pid" ] || return 1
  read -r pid t <"$DIR/run/$1.pid"
  [ "$(start_ticks "$pid" || true)" = "$t" ]
}
pid_of() {
  local pid t
  read -r pid t <"$DIR/run/$1.pid"
  echo "$pid"
}

# stop_daemon NAME [SIGNAL] [SECONDS] : signal the process, then kill its own process group if it lingers
stop_daemon() {
  local name=$1 sig=${2:-TERM} max=${3:-15} pid i
  if ! alive "$name"; then
    rm -f "$DIR/run/$name.pid"
    return 0
  fi
  pid=$(pid_of "$name")
  kill -"$sig" "$pid" 2>/dev/null || true
  for ((i = 0; i < max * 20; i++)); do
    alive "$name" || break
    sleep 0.05
  done
  if alive "$name"; then
    say "$name ($pid) did not stop in $max s: killing its process group"
    kill -KILL -- "-$pid" 2>/dev/null || true
    sleep 0.2
  else kill -KILL -- "-$pid" 2>/dev/null || true; fi # stray children of that group
  rm -f "$DIR/run/$name.pid"
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
valid_port() { [[ $1 =~ ^[0-9]+$ ]] && [ "$1" -ge 1 ] && [ "$1" -le 65535 ]; }
# choose_port NAME [WANTED] : WANTED, else the one remembered in DIR, else a free one; sets PORT_OUT
choose_port() {
  local f="$DIR/run/$1.port" w=${2:-} i
  if [ -n "$w" ] && [ "$w" != 0 ]; then
    valid_port "$w" || die "not a port: $w"
    port_free "$w" || die "port $w (for $1) is in use on 127.0.0.1"
  else
    w=
    if [ -s "$f" ]; then
      w=$(cat "$f")
      port_free "$w" || w=
    fi
    # below 32768, where the kernel takes ports for outgoing connections
    if [ -z "$w" ]; then for ((i = 0; i < 50; i++)); do
      w=$((20000 + RANDOM % 12000))
      port_free $w && break
      w=
    done; fi
    [ -n "$w" ] || die "no free port for $1"
  fi
  echo "$w" >"$f"
  PORT_OUT=$w
}
# same_port NAME WANTED: for a start on something that already runs
same_port() { [ -z "${2:-}" ] || [ "$2" = 0 ] || [ "$(cat "$DIR/run/$1.port")" = "$2" ] || die "$1 already runs on port $(cat "$DIR/run/$1.port"), not $2; stop it first"; }

log_tail() {
  say "last lines of $DIR/log/$1.log:"
  tail -n 15 "$DIR/log/$1.log" >&2 || true
}

# wait_tcp NAME PORT SECONDS / wait_http NAME URL SECONDS : until it answers, or the process is gone
wait_tcp() {
  local i
  for ((i = 0; i < $3 * 20; i++)); do
    port_free "$2" || return 0
    alive "$1" || {
      log_tail "$1"
      die "$1 exited during start"
    }
    sleep 0.05
  done
  log_tail "$1"
  die "$1 does not listen on port $2 after $3 s"
}
wait_http() {
  local i
  for ((i = 0; i < $3 * 20; i++)); do
    curl --noproxy '*' -fsS -m 5 -o /dev/null "$2" 2>/dev/null && return 0
    alive "$1" || {
      log_tail "$1"
      die "$1 exited during start"
    }
    sleep 0.05
  done
  log_tail "$1"
  die "$1: no good answer from $2 after $3 s"
}

rand_hex() { od -An -N"${1:-16}" -tx1 /dev/urandom | tr -d ' \n'; }
secret() {
  local f="$DIR/$1"
  [ -s "$f" ] || (
    umask 077
    rand_hex "${2:-16}" >"$f"
  )
  cat "$f"
}

# facts_write <<EOF … : save and print; facts_print : print the saved ones
facts_write() {
  (
    umask 077
    cat >"$DIR/facts.env"
  )
  cat "$DIR/facts.env"
}
facts_print() {
  [ -s "$DIR/facts.env" ] || die "nothing started in $DIR"
  cat "$DIR/facts.env"
}
fact() {
  local l
  l=$(grep -m1 "^$1=" "$DIR/facts.env") || die "no $1 in $DIR/facts.env"
  printf '%s\n' "${l#*=}"
}

# get ARGUMENT...: curl to a server of this machine
get() { curl --noproxy '*' -fsS -m 10 "$@"; }

# stop_peer HALT DIR: has the peer's own HALT end what runs in DIR; nothing there is fine
stop_peer() {
  [ -n "${2:-}" ] || die "DIR missing"
  [ -d "$2/run" ] || {
    say "nothing in $2"
    exit 0
  }
  init_dir "$2"
  "$1"
  say "stopped $DIR"
}

# peer_status DIR DAEMON...: the facts if all of them run, else exit status 3
peer_status() {
  have_dir "$1"
  shift
  local daemon
  for daemon in "$@"; do
    if ! alive "$daemon"; then
      echo RUNNING=0
      exit 3
    fi
  done
  echo RUNNING=1
  facts_print
}
