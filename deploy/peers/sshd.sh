#!/bin/bash
# Real OpenSSH servers on 127.0.0.1: a target, a jump host, and one whose host key is not the known one.
#   sshd.sh start DIR [PORT [JUMP_PORT [MISMATCH_PORT]]]   prints SSH_* facts
#   sshd.sh rekey DIR | unrekey DIR    the target itself changes to another host key, and back (a restart on the same port)
#   sshd.sh verify DIR                 proves with the stock ssh client what the facts claim
#   sshd.sh stop DIR | status DIR
# Needs root (sshd changes users and reads the shadow file). Makes one unprivileged user for DIR, removed by stop;
# its home, keys and password stay in DIR. No ForceCommand; sftp works. Environment: SSHD_USER (peer + 6 hex of DIR),
# SSHD_SHELL (/bin/bash), SSHD_EXTRA (more sshd_config lines for all three).
source "$(dirname "$0")/lib.sh"

user_name() { UNAME=$(cat "$DIR/run/user" 2>/dev/null) || UNAME=${SSHD_USER:-peer$(printf '%s' "$DIR" | sha1sum | cut -c1-6)}; }
conf() { # NAME PORT HOSTKEY AUTHKEYS FORWARDING
  (
    umask 077
    cat >"$DIR/etc/$1.conf" <<CONF
ListenAddress 127.0.0.1
Port $2
HostKey $3
PidFile none
AuthorizedKeysFile $4
PubkeyAuthentication yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers $UNAME
UsePAM no
StrictModes yes
AllowTcpForwarding $5
GatewayPorts no
X11Forwarding no
PrintMotd no
UseDNS no
LogLevel VERBOSE
MaxStartups 100
MaxSessions 50
LoginGraceTime 20
Subsystem sftp internal-sftp
${SSHD_EXTRA:-}
CONF
  )
  /usr/sbin/sshd -t -f "$DIR/etc/$1.conf" || die "sshd refuses $DIR/etc/$1.conf"
}
key() { [ -s "$DIR/keys/$1" ] || ssh-keygen -q -t ed25519 -N "${2:-}" -C "$1" -f "$DIR/keys/$1"; }
launch() {
  spawn "$1" root /usr/sbin/sshd -D -e -f "$DIR/etc/$1.conf"
  wait_tcp "$1" "$2" 10
}
hostkey() { awk '{print $1" "$2}' "$DIR/keys/$1.pub"; }
fingerprint() { ssh-keygen -lf "$DIR/keys/$1.pub" | awk '{print $2}'; }
target_key() { if [ -e "$DIR/run/rekeyed" ]; then echo host_changed; else echo host_target; fi; }

start() {
  is_root || die "must run as root"
  need_pkgs setpriv:util-linux /usr/sbin/sshd:openssh-server ssh:openssh-client useradd:passwd
  install -d -m 755 /run/sshd # the privilege separation directory, built into Debian's sshd
  init_dir "$1"
  user_name
  if alive target && alive jump && alive mismatch && id "$UNAME" >/dev/null 2>&1 && [ -s "$DIR/facts.env" ]; then
    same_port target "${2:-}"
    same_port jump "${3:-}"
    same_port mismatch "${4:-}"
    facts_print
    return
  fi
  halt
  local p j m
  choose_port target "${2:-}"
  p=$PORT_OUT
  choose_port jump "${3:-}"
  j=$PORT_OUT
  choose_port mismatch "${4:-}"
  m=$PORT_OUT
  [ "$p" != "$j" ] && [ "$p" != "$m" ] && [ "$j" != "$m" ] || die "the three ports must differ"
  CLEANUP=halt
  install -d -m 700 "$DIR/etc" "$DIR/keys"
  key host_target
  key host_jump
  key host_changed
  key id_ed25519
  key id_jump
  key id_passphrase peers-passphrase
  key id_stranger
  local pw
  pw=$(secret password 9)
  id "$UNAME" >/dev/null 2>&1 && [ ! -e "$DIR/run/user" ] && die "user $UNAME exists already and is not ours; set SSHD_USER"
  echo "$UNAME" >"$DIR/run/user"
  id "$UNAME" >/dev/null 2>&1 || useradd -M -d "$DIR/home" -s "${SSHD_SHELL:-/bin/bash}" -c "test user of peers/sshd.sh" -K MAIL_DIR=/nonexistent "$UNAME" 2>"$DIR/log/useradd.log" || {
    cat "$DIR/log/useradd.log" >&2
    die "useradd failed"
  }
  printf '%s:%s\n' "$UNAME" "$pw" | chpasswd
  install -d -m 755 "$DIR/home"
  install -d -m 700 "$DIR/home/.ssh"
  cat "$DIR/keys/id_ed25519.pub" "$DIR/keys/id_passphrase.pub" >"$DIR/home/.ssh/authorized_keys"
  cat "$DIR/keys/id_jump.pub" "$DIR/keys/id_ed25519.pub" >"$DIR/home/.ssh/authorized_keys_jump"
  echo "hello from the target" >"$DIR/home/hello.txt"
  chown -R "$UNAME:" "$DIR/home"
  can_enter "$UNAME" "$DIR/home"
  conf target "$p" "$DIR/keys/$(target_key)" .ssh/authorized_keys no
  conf jump "$j" "$DIR/keys/host_jump" .ssh/authorized_keys_jump local
  conf mismatch "$m" "$DIR/keys/host_changed" .ssh/authorized_keys no
  launch target "$p"
  launch jump "$j"
  launch mismatch "$m"
  # what a client should know: the true keys of target and jump, and for the third a key that it does not have
  {
    echo "[127.0.0.1]:$p $(hostkey host_target)"
    echo "[127.0.0.1]:$j $(hostkey host_jump)"
    echo "[127.0.0.1]:$m $(hostkey host_target)"
  } >"$DIR/known_hosts"
  facts_write <<FACTS
SSH_HOST=127.0.0.1
SSH_PORT=$p
SSH_USER=$UNAME
SSH_PASSWORD=$pw
SSH_KEY=$DIR/keys/id_ed25519
SSH_KEY_WITH_PASSPHRASE=$DIR/keys/id_passphrase
SSH_KEY_PASSPHRASE=peers-passphrase
SSH_KEY_NOT_AUTHORIZED=$DIR/keys/id_stranger
SSH_HOST_KEY_FINGERPRINT=$(fingerprint "$(target_key)")
SSH_KNOWN_HOSTS=$DIR/known_hosts
SSH_JUMP_PORT=$j
SSH_JUMP_USER=$UNAME
SSH_JUMP_KEY=$DIR/keys/id_jump
SSH_JUMP_HOST_KEY_FINGERPRINT=$(fingerprint host_jump)
SSH_MISMATCH_PORT=$m
SSH_MISMATCH_HOST_KEY_FINGERPRINT=$(fingerprint host_changed)
SSH_VERSION=$(/usr/sbin/sshd -V 2>&1 | head -n1 | cut -d, -f1)
SSH_LOGS=$DIR/log
FACTS
  CLEANUP=
}

halt() {
  local u pid i
  for i in target jump mismatch; do stop_daemon "$i"; done
  [ -s "$DIR/run/user" ] || return 0
  u=$(cat "$DIR/run/user")
  if id "$u" >/dev/null 2>&1; then
    # sessions outlive their listener: end what runs as our own user, by process id
    for i in TERM KILL; do
      for pid in $(ps -o pid= -U "$u" -u "$u"); do kill -$i "$pid" 2>/dev/null || true; done
      for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -z "$(ps -o stat= -U "$u" -u "$u" | grep -v Z)" ] && break 2
        sleep 0.1
      done
    done
    userdel "$u" 2>>"$DIR/log/useradd.log" || userdel -f "$u" 2>>"$DIR/log/useradd.log" || say "user $u could not be removed, see $DIR/log/useradd.log"
  fi
  rm -f "$DIR/run/user"
}
rekey() {
  local p
  alive target || die "not running in $DIR"
  p=$(cat "$DIR/run/target.port")
  user_name
  if [ "$1" = rekey ]; then touch "$DIR/run/rekeyed"; else rm -f "$DIR/run/rekeyed"; fi
  stop_daemon target
  conf target "$p" "$DIR/keys/$(target_key)" .ssh/authorized_keys no
  launch target "$p"
  sed -i "s#^SSH_HOST_KEY_FINGERPRINT=.*#SSH_HOST_KEY_FINGERPRINT=$(fingerprint "$(target_key)")#" "$DIR/facts.env"
  grep ^SSH_HOST_KEY_FINGERPRINT= "$DIR/facts.env"
}

verify() {
  local p j m k u bad=0
  p=$(fact SSH_PORT)
  j=$(fact SSH_JUMP_PORT)
  m=$(fact SSH_MISMATCH_PORT)
  k=$(fact SSH_KEY)
  u=$(fact SSH_USER)
  need_pkgs sshpass:sshpass
  local -a o=(-F none -o UserKnownHostsFile="$DIR/known_hosts" -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o ConnectTimeout=5)
  t() { # NAME EXPECTED-RC PATTERN cmd...
    local n=$1 rc=$2 pat=$3 out got=0
    shift 3
    out=$("$@" 2>&1 </dev/null 9>&-) || got=$?
    if [ "$got" = "$rc" ] && grep -qE "$pat" <<<"$out"; then echo "ok   $n"; else
      bad=1
      echo "FAIL $n (exit $got): $out"
    fi
  }
  t 'key' 0 "^$u$" ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$p" "$u@127.0.0.1" id -un
  t 'password' 0 "^$u$" sshpass -p "$(fact SSH_PASSWORD)" ssh "${o[@]}" -o PubkeyAuthentication=no -p "$p" "$u@127.0.0.1" id -un
  t 'wrong password is refused' 5 'denied' sshpass -p wrong ssh "${o[@]}" -o PubkeyAuthentication=no -p "$p" "$u@127.0.0.1" id -un
  t 'unknown key is refused' 255 'Permission denied' ssh "${o[@]}" -o BatchMode=yes -i "$(fact SSH_KEY_NOT_AUTHORIZED)" -p "$p" "$u@127.0.0.1" id -un
  t 'root is refused' 255 'Permission denied' ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$p" root@127.0.0.1 id -un
  t 'exit status comes back' 7 '' ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$p" "$u@127.0.0.1" exit 7
  t 'is unprivileged' 1 'denied|Permission' ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$p" "$u@127.0.0.1" cat /etc/shadow
  t 'sftp' 0 'hello.txt' sftp "${o[@]}" -o BatchMode=yes -i "$k" -P "$p" -b <(echo ls) "$u@127.0.0.1"
  t 'through the jump host' 0 "^$u .*127.0.0.1" ssh "${o[@]}" -o BatchMode=yes -i "$k" -o ProxyCommand="ssh -F none -o UserKnownHostsFile=$DIR/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -i $(fact SSH_JUMP_KEY) -p $j -W %h:%p $u@127.0.0.1" -p "$p" "$u@127.0.0.1" 'echo $(id -un) $SSH_CONNECTION'
  t 'the jump key does not open the target' 255 'Permission denied' ssh "${o[@]}" -o BatchMode=yes -i "$(fact SSH_JUMP_KEY)" -p "$p" "$u@127.0.0.1" id -un
  t 'the target does not forward' 255 'administratively prohibited|open failed' ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$p" -W "127.0.0.1:$j" "$u@127.0.0.1"
  t 'host key mismatch' 255 'REMOTE HOST IDENTIFICATION HAS CHANGED' ssh "${o[@]}" -o BatchMode=yes -i "$k" -p "$m" "$u@127.0.0.1" id -un
  return $bad
}

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [PORT [JUMP_PORT [MISMATCH_PORT]]]"
    start "$@"
    ;;
  stop) stop_peer halt "$@" ;;
  status) peer_status "${1:-}" target jump mismatch ;;
  rekey | unrekey)
    have_dir "${1:-}"
    init_dir "$1"
    rekey "$cmd"
    ;;
  verify)
    have_dir "${1:-}"
    verify || die "not as it should be"
    ;;
  *) die "usage: $PROG start DIR [PORT [JUMP_PORT [MISMATCH_PORT]]] | rekey DIR | unrekey DIR | verify DIR | stop DIR | status DIR" ;;
esac
