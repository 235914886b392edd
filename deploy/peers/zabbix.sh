#!/bin/bash
# A real Zabbix 6.0: server, agent, web frontend with the JSON-RPC API, and a PostgreSQL of its own, all on 127.0.0.1.
#   zabbix.sh start DIR [WEB_PORT [TRAPPER_PORT [AGENT_PORT]]]     prints ZABBIX_* facts
#   zabbix.sh stop DIR | status DIR
#   zabbix.sh webhook DIR URL SECRET         imports ../zabbix/media_akmatori.yaml as people do, with its macros, a user and
#                                            an action for it. Again = change. Environment: ZBX_MEDIA=FILE another file,
#                                            ZBX_ATTEMPTS, ZBX_ATTEMPT_INTERVAL (1m) in place of the file's
#   zabbix.sh trip DIR [VALUE [KEY]]         sends VALUE (1) to the trapper item KEY (peer.trap), waits for the problem
#   zabbix.sh recover DIR [KEY]              sends 0, waits until the problem is resolved
#   zabbix.sh ack DIR [MESSAGE [KEY]]        acknowledges the open problem (update event)
#   zabbix.sh alerts DIR                     what the server sent: status, retries and error of the webhook alerts
#   zabbix.sh api DIR METHOD [PARAMS_JSON]   one API call, prints .result
#   zabbix.sh agent-stop DIR | agent-start DIR   takes the monitored agent away, and back
# Environment at start: ZBX_CACHE=FILE.tar  keeps the freshly loaded database there and reuses it for a new DIR;
#   PG_FSYNC, PG_EXTRA as in postgres.sh; PEERS_TZ (UTC) time zone of server and frontend; ZBX_DEBUG=3.
source "$(dirname "$0")/lib.sh"
SHARE=/usr/share/zabbix-server-pgsql
HOSTN=peer-host

packages() {
  need_pkgs setpriv:util-linux jq:jq curl:curl
  # php-cgi stands in for the web server module that the frontend package would pull in otherwise (apache2)
  need_pkgs zabbix_server:zabbix-server-pgsql zabbix_agentd:zabbix-agent zabbix_sender:zabbix-agent \
    php:php-cli php-cgi:php-cgi '/usr/lib/php/*/pgsql.so:php-pgsql' /usr/share/zabbix/api_jsonrpc.php:zabbix-frontend-php
  [ -s $SHARE/schema.sql.gz ] || die "no $SHARE/schema.sql.gz"
}
pgd() { "$HERE/postgres.sh" "$1" "$DIR/pg" "${@:2}"; }

load_db() { # an empty cluster gets the schema, the images and the default data
  local key
  key=$(dpkg-query -W -f '${Version}' zabbix-server-pgsql)
  if [ -s "$DIR/run/db_loaded" ]; then return; fi
  local t0=$EPOCHREALTIME
  pgd psql -qAtc "drop schema public cascade; create schema public" >/dev/null 2>"$DIR/log/load.log"
  {
    echo "set synchronous_commit=off; set client_min_messages=warning;"
    zcat $SHARE/schema.sql.gz $SHARE/images.sql.gz $SHARE/data.sql.gz
  } | pgd psql -q -1 -o /dev/null >>"$DIR/log/load.log" 2>&1 || {
    tail -n 15 "$DIR/log/load.log" >&2
    die "loading the schema failed"
  }
  pgd psql -qAtc "analyze"
  echo "$key" >"$DIR/run/db_loaded"
  say "schema and default data loaded in $(awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN{printf "%.1f", b-a}') s"
}

start_pg() {
  local cache=${ZBX_CACHE:-} key
  key=$(dpkg-query -W -f '${Version}' zabbix-server-pgsql)
  export PG_USER=zabbix PG_DB=zabbix PG_FSYNC=${PG_FSYNC:-off} PG_MAX_CONN=${PG_MAX_CONN:-100}
  if [ -n "$cache" ] && [ ! -e "$DIR/pg/data/PG_VERSION" ] && [ -s "$cache" ] && [ "$(cat "$cache.key" 2>/dev/null)" = "$key" ]; then
    mkdir -p "$DIR/pg"
    tar -xpf "$cache" -C "$DIR/pg"
    rm -f "$DIR"/pg/run/*.port
    echo "$key" >"$DIR/run/db_loaded"
  fi
  pgd start >"$DIR/run/pg.facts" || die "PostgreSQL did not start"
  load_db
  if [ -n "$cache" ] && [ "$(cat "$cache.key" 2>/dev/null)" != "$key" ]; then
    pgd stop
    (
      umask 077
      tar -cf "$cache.$$" -C "$DIR/pg" --exclude='data/postmaster.*' data s run password
    )
    mv "$cache.$$" "$cache"
    echo "$key" >"$cache.key"
    pgd start >"$DIR/run/pg.facts"
  fi
  chmod 600 "$DIR/run/pg.facts"
}
pgfact() {
  local l
  l=$(grep -m1 "^$1=" "$DIR/run/pg.facts")
  printf '%s' "${l#*=}"
}

own() { ! is_root || chown "$@"; }

conf() {
  local web=$1 trap=$2 agent=$3
  install -d -m 755 "$DIR/etc" "$DIR/zs" "$DIR/zs/scripts" "$DIR/php"
  own "$ZU" "$DIR/zs"
  own "$WU" "$DIR/php"
  (
    umask 077
    cat >"$DIR/etc/server.conf" <<CONF
ListenIP=127.0.0.1
ListenPort=$trap
SourceIP=127.0.0.1
LogType=console
DebugLevel=${ZBX_DEBUG:-3}
PidFile=$DIR/zs/server.pid
SocketDir=$DIR/zs
DBHost=127.0.0.1
DBPort=$(pgfact PGPORT)
DBName=zabbix
DBUser=zabbix
DBPassword=$(pgfact PGPASSWORD)
AlertScriptsPath=$DIR/zs/scripts
ExternalScripts=$DIR/zs/scripts
StartPollers=2
StartPollersUnreachable=1
StartPreprocessors=2
StartTrappers=3
StartPingers=0
StartDiscoverers=0
StartHTTPPollers=1
StartTimers=1
StartEscalators=1
StartAlerters=3
StartDBSyncers=2
StartLLDProcessors=1
StartHistoryPollers=1
StartODBCPollers=0
CacheSize=32M
HistoryCacheSize=4M
HistoryIndexCacheSize=2M
TrendCacheSize=1M
ValueCacheSize=8M
CacheUpdateFrequency=5
HousekeepingFrequency=0
Timeout=10
StatsAllowedIP=127.0.0.1
CONF
    cat >"$DIR/etc/agent.conf" <<CONF
ListenIP=127.0.0.1
ListenPort=$agent
SourceIP=127.0.0.1
Server=127.0.0.1
ServerActive=127.0.0.1:$trap
Hostname=$HOSTN
LogType=console
PidFile=$DIR/zs/agent.pid
StartAgents=2
Timeout=5
CONF
    cat >"$DIR/etc/zabbix.conf.php" <<CONF
<?php
\$DB['TYPE'] = 'POSTGRESQL'; \$DB['SERVER'] = '127.0.0.1'; \$DB['PORT'] = '$(pgfact PGPORT)';
\$DB['DATABASE'] = 'zabbix'; \$DB['USER'] = 'zabbix'; \$DB['PASSWORD'] = '$(pgfact PGPASSWORD)'; \$DB['SCHEMA'] = '';
\$DB['ENCRYPTION'] = false; \$DB['KEY_FILE'] = ''; \$DB['CERT_FILE'] = ''; \$DB['CA_FILE'] = ''; \$DB['VERIFY_HOST'] = false; \$DB['CIPHER_LIST'] = '';
\$DB['VAULT_URL'] = ''; \$DB['VAULT_DB_PATH'] = ''; \$DB['VAULT_TOKEN'] = '';
\$DB['DOUBLE_IEEE754'] = true;
\$ZBX_SERVER = '127.0.0.1'; \$ZBX_SERVER_PORT = '$trap'; \$ZBX_SERVER_NAME = 'peers';
\$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;
CONF
  )
  own "$ZU" "$DIR/etc/server.conf" "$DIR/etc/agent.conf"
  own "$WU" "$DIR/etc/zabbix.conf.php"
  # Debian's frontend has /etc/zabbix/zabbix.conf.php built in: run a copy that reads ours instead
  if [ "$(cat "$DIR/run/web_version" 2>/dev/null)" != "$(dpkg-query -W -f '${Version}' zabbix-frontend-php)" ]; then
    rm -rf "$DIR/web"
    cp -a /usr/share/zabbix "$DIR/web"
    sed -i "s#'/etc/zabbix/zabbix.conf.php'#'$DIR/etc/zabbix.conf.php'#" "$DIR/web/include/classes/core/CConfigFile.php"
    grep -qF "$DIR/etc/zabbix.conf.php" "$DIR/web/include/classes/core/CConfigFile.php" || die "could not point the frontend at $DIR/etc"
    dpkg-query -W -f '${Version}' zabbix-frontend-php >"$DIR/run/web_version"
  fi
}

start_agent() {
  spawn zabbix_agentd "$ZU" zabbix_agentd -f -c "$DIR/etc/agent.conf"
  wait_tcp zabbix_agentd "$(cat "$DIR/run/agent.port")" 20
}

start() {
  packages
  init_dir "$1"
  ZU=$(who zabbix)
  WU=$(who www-data)
  can_enter "$ZU" "$DIR"
  can_enter "$WU" "$DIR"
  [ ${#DIR} -le 75 ] || die "DIR is too long for unix sockets: $DIR"
  if alive zabbix_server && alive zabbix_php && alive zabbix_agentd && [ -s "$DIR/facts.env" ]; then
    same_port web "${2:-}"
    same_port trapper "${3:-}"
    same_port agent "${4:-}"
    facts_print
    return
  fi
  halt
  CLEANUP=halt_all
  local t0=$SECONDS web trap agent
  choose_port web "${2:-}"
  web=$PORT_OUT
  choose_port trapper "${3:-}"
  trap=$PORT_OUT
  choose_port agent "${4:-}"
  agent=$PORT_OUT
  start_pg
  conf "$web" "$trap" "$agent"
  # the built-in web server of PHP, with worker processes: without them one slow request blocks all
  EXTRA_ENV=(PHP_CLI_SERVER_WORKERS=4)
  # the pages (not the API) complain where en_US.UTF-8 is missing: compile it for this process alone, if that is possible
  if [ ! -e "$DIR/locale" ] && [ -e /usr/share/i18n/locales/en_US ]; then
    mkdir "$DIR/locale"
    localedef -i en_US -f UTF-8 "$DIR/locale/en_US.UTF-8" >/dev/null 2>&1 || true
  fi
  if [ -e "$DIR/locale/en_US.UTF-8" ]; then EXTRA_ENV+=(LOCPATH="$DIR/locale"); fi
  spawn zabbix_php "$WU" php -d date.timezone="${PEERS_TZ:-UTC}" -d memory_limit=256M -d post_max_size=16M -d max_execution_time=300 \
    -d max_input_time=300 -d display_errors=0 -d log_errors=1 -d session.save_path="$DIR/php" -d opcache.enable_cli=1 \
    -S "127.0.0.1:$web" -t "$DIR/web"
  EXTRA_ENV=()
  spawn zabbix_server "$ZU" zabbix_server -f -c "$DIR/etc/server.conf"
  start_agent
  wait_tcp zabbix_php "$web" 20
  wait_tcp zabbix_server "$trap" 60
  printf 'ZABBIX_API_URL=http://127.0.0.1:%s/api_jsonrpc.php\nZABBIX_TRAPPER_PORT=%s\n' "$web" "$trap" >"$DIR/facts.env"
  provision "$agent"
  local ver
  ver=$(rpc apiinfo.version '{}' "" | jq -r .result)
  facts_write <<FACTS
ZABBIX_URL=http://127.0.0.1:$web
ZABBIX_API_URL=http://127.0.0.1:$web/api_jsonrpc.php
ZABBIX_VERSION=$ver
ZABBIX_USER=Admin
ZABBIX_PASSWORD=zabbix
ZABBIX_API_TOKEN=$(cat "$DIR/api_token")
ZABBIX_TRAPPER=127.0.0.1:$trap
ZABBIX_TRAPPER_PORT=$trap
ZABBIX_AGENT=127.0.0.1:$agent
ZABBIX_HOST=$HOSTN
ZABBIX_HOSTID=$HOSTID
ZABBIX_ITEM_KEY=peer.trap
ZABBIX_ITEMID=$ITEMID
ZABBIX_TRIGGERID=$TRIGGERID
ZABBIX_DATABASE_URL=$(pgfact DATABASE_URL)
ZABBIX_LOGS=$DIR/log
FACTS
  CLEANUP=
  say "ready in $((SECONDS - t0)) s"
}

# rpc METHOD PARAMS [TOKEN]: raw answer.   api METHOD PARAMS: .result, or dies with the API's error
rpc() {
  jq -nc --arg m "$1" --argjson p "$2" --arg a "${3-}" '{jsonrpc:"2.0",method:$m,params:$p,id:1} + (if $a=="" then {} else {auth:$a} end)' |
    curl --noproxy '*' -fsS -m 60 -H 'Content-Type: application/json-rpc' --data-binary @- "$(fact ZABBIX_API_URL)"
}
api() {
  local p=${2:-}
  [ -n "$p" ] || p={}
  local out
  out=$(rpc "$1" "$p" "$(token)") || die "API call $1 failed"
  if [ "$(jq 'has("error")' <<<"$out")" = true ]; then die "API $1: $(jq -r '.error|"\(.message) \(.data)"' <<<"$out")"; fi
  jq -c .result <<<"$out"
}
token() {
  if [ -s "$DIR/api_token" ]; then
    cat "$DIR/api_token"
    return
  fi
  if [ -z "${SESSION:-}" ]; then SESSION=$(rpc user.login '{"username":"Admin","password":"zabbix"}' "" | jq -r '.result // empty'); fi
  [ -n "$SESSION" ] || die "login as Admin failed"
  echo "$SESSION"
}
id_of() { jq -r ".[0].$1 // empty"; }

provision() {
  local agent=$1 gid ifid tid tok n
  local login
  login=$(rpc user.login '{"username":"Admin","password":"zabbix"}' "") || die "the API does not answer, see $DIR/log/zabbix_php.log"
  SESSION=$(jq -r '.result // empty' <<<"$login")
  [ -n "$SESSION" ] || die "login as Admin failed: $login"
  if [ ! -s "$DIR/api_token" ]; then
    tid=$(api token.get '{"filter":{"name":"peers"}}' | id_of tokenid)
    [ -n "$tid" ] || tid=$(api token.create '{"name":"peers","userid":"1"}' | jq -r '.tokenids[0]')
    tok=$(api token.generate "[\"$tid\"]" | jq -r '.[0].token')
    (
      umask 077
      echo "$tok" >"$DIR/api_token"
    )
  fi
  # the stock host "Zabbix server" wants an agent on port 10050: off, it would only raise problems of its own
  n=$(api host.get '{"filter":{"host":"Zabbix server","status":0}}' | id_of hostid)
  [ -z "$n" ] || api host.update "{\"hostid\":\"$n\",\"status\":1}" >/dev/null
  gid=$(api hostgroup.get '{"filter":{"name":"Peers"}}' | id_of groupid)
  [ -n "$gid" ] || gid=$(api hostgroup.create '{"name":"Peers"}' | jq -r '.groupids[0]')
  HOSTID=$(api host.get "{\"filter\":{\"host\":\"$HOSTN\"}}" | id_of hostid)
  if [ -z "$HOSTID" ]; then
    HOSTID=$(api host.create "$(jq -nc --arg h $HOSTN --arg g "$gid" --arg p "$agent" '{host:$h,name:"Peer host",groups:[{groupid:$g}],
      tags:[{tag:"env",value:"test"}],interfaces:[{type:1,main:1,useip:1,ip:"127.0.0.1",dns:"",port:$p}]}')" | jq -r '.hostids[0]')
  fi
  ifid=$(api hostinterface.get "{\"hostids\":\"$HOSTID\"}")
  n=$(jq -r '.[0].port' <<<"$ifid")
  ifid=$(id_of interfaceid <<<"$ifid")
  [ "$n" = "$agent" ] || api hostinterface.update "{\"interfaceid\":\"$ifid\",\"port\":\"$agent\"}" >/dev/null
  item() { # NAME KEY TYPE VALUE_TYPE UNITS -> id ; type 0 agent, 2 trapper ; value type 0 float, 1 char, 3 unsigned
    local id
    id=$(api item.get "$(jq -nc --arg h "$HOSTID" --arg k "$2" '{hostids:$h,filter:{key_:$k}}')" | id_of itemid)
    [ -n "$id" ] || id=$(api item.create "$(jq -nc --arg h "$HOSTID" --arg i "$ifid" --arg n "$1" --arg k "$2" --argjson t "$3" --argjson v "$4" --arg u "$5" \
      '{hostid:$h,name:$n,key_:$k,type:$t,value_type:$v,units:$u,history:"7d"} + (if $t==0 then {interfaceid:$i,delay:"5s"} else {} end) + (if $v==1 then {} else {trends:"0"} end)')" | jq -r '.itemids[0]')
    echo "$id"
  }
  trigger() { # NAME KEY PRIORITY SERVICE
    local id
    id=$(api trigger.get "$(jq -nc --arg h "$HOSTID" --arg n "$1" '{hostids:$h,filter:{description:$n}}')" | id_of triggerid)
    [ -n "$id" ] || id=$(api trigger.create "$(jq -nc --arg n "$1" --arg e "last(/$HOSTN/$2)>0" --argjson p "$3" --arg s "$4" --arg k "$2" \
      '{description:$n,expression:$e,priority:$p,opdata:"Current value: {ITEM.LASTVALUE1}",comments:"Made to fire by zabbix_sender.",manual_close:1,
        url:("http://127.0.0.1/runbooks/"+$k),tags:[{tag:"service",value:$s},{tag:"scope",value:"availability"}]}')" | jq -r '.triggerids[0]')
    echo "$id"
  }
  item 'Agent ping' agent.ping 0 3 '' >/dev/null
  item 'Agent host name' agent.hostname 0 1 '' >/dev/null
  item 'CPU load, 1 minute' 'system.cpu.load[all,avg1]' 0 0 '' >/dev/null
  item 'Memory available' 'vm.memory.size[pavailable]' 0 0 '%' >/dev/null
  ITEMID=$(item 'Failed checkouts' peer.trap 2 0 '')
  TRIGGERID=$(trigger 'Checkout fails on {HOST.NAME}' peer.trap 4 checkout)
  item 'Queue depth' peer.trap2 2 0 '' >/dev/null
  trigger 'Queue grows on {HOST.NAME}' peer.trap2 3 queue >/dev/null
  item 'Database down' peer.trap3 2 0 '' >/dev/null
  trigger 'Database is down on {HOST.NAME}' peer.trap3 5 database >/dev/null
  reload
  if [ ! -e "$DIR/run/first_values" ]; then
    for n in peer.trap peer.trap2 peer.trap3; do send "$n" 0; done
    touch "$DIR/run/first_values"
  fi
}
reload() { as "$(who zabbix)" zabbix_server -c "$DIR/etc/server.conf" -R config_cache_reload >/dev/null 2>&1 || true; }

# send KEY VALUE: until the server takes it (it knows a new item only after it has read its configuration)
send() {
  local i out
  for ((i = 0; i < 120; i++)); do
    out=$(zabbix_sender -z 127.0.0.1 -p "$(fact ZABBIX_TRAPPER_PORT)" -s $HOSTN -k "$1" -o "$2" 2>&1) && return 0
    sleep 0.25
  done
  die "zabbix_sender: $out"
}
trig_id() { api trigger.get "$(jq -nc --arg e "${1:-peer.trap}" --arg h $HOSTN '{host:$h,output:["triggerid"],selectItems:["key_"]}')" | jq -r --arg k "${1:-peer.trap}" '[.[]|select(.items[0].key_==$k)][0].triggerid // empty'; }
open_problem() { api problem.get "{\"objectids\":\"$1\",\"output\":\"extend\",\"selectTags\":\"extend\",\"sortfield\":\"eventid\",\"sortorder\":\"DESC\"}"; }

trip() {
  local key=${3:-peer.trap} val=${2:-1} id i p t0=$EPOCHREALTIME
  id=$(trig_id "$key")
  [ -n "$id" ] || die "no trigger on item $key"
  send "$key" "$val"
  for ((i = 0; i < 150; i++)); do
    p=$(open_problem "$id")
    [ "$p" != '[]' ] && break
    sleep 0.2
  done
  [ "$p" != '[]' ] || die "no problem after sending $val to $key"
  jq -r '.[0]|"EVENTID=\(.eventid)\nPROBLEM_NAME=\(.name)\nPROBLEM_SEVERITY=\(.severity)\nPROBLEM_CLOCK=\(.clock)"' <<<"$p"
  echo "TRIGGERID=$id"
  awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN{printf "SECONDS=%.1f\n", b-a}'
}
recover() {
  local key=${2:-peer.trap} id i p t0=$EPOCHREALTIME
  id=$(trig_id "$key")
  [ -n "$id" ] || die "no trigger on item $key"
  send "$key" 0
  for ((i = 0; i < 150; i++)); do
    p=$(open_problem "$id")
    [ "$p" = '[]' ] && break
    sleep 0.2
  done
  [ "$p" = '[]' ] || die "the problem on $key is still open"
  echo "TRIGGERID=$id"
  awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN{printf "SECONDS=%.1f\n", b-a}'
}

# webhook URL SECRET: the media type as people import it, with a user who gets everything of our host
webhook() {
  local url=$2 file=${ZBX_MEDIA:-$HERE/../zabbix/media_akmatori.yaml} rules id uid op act aid retries
  [[ $url =~ ^https?:// ]] || die "not a URL: $url"
  macro '{$AKMATORI.URL}' "$url" 0
  macro '{$AKMATORI.SECRET}' "$3" 1
  macro '{$ZABBIX.URL}' "$(fact ZABBIX_URL)" 0
  rules='{"mediaTypes":{"createMissing":true,"updateExisting":true}}'
  api configuration.import "$(jq -nc --rawfile s "$file" --argjson r "$rules" '{format:"yaml",rules:$r,source:$s}')" >/dev/null
  id=$(api mediatype.get '{"filter":{"name":"Akmatori"}}' | id_of mediatypeid)
  [ -n "$id" ] || die "$file has no media type named Akmatori"
  retries=$(jq -nc --arg i "$id" --arg n "${ZBX_ATTEMPTS:-}" --arg t "${ZBX_ATTEMPT_INTERVAL:-}" \
    '{mediatypeid:$i} + (if $n == "" then {} else {maxattempts:$n} end) + (if $t == "" then {} else {attempt_interval:$t} end)')
  [ -z "${ZBX_ATTEMPTS:-}${ZBX_ATTEMPT_INTERVAL:-}" ] || api mediatype.update "$retries" >/dev/null
  # A user of its own: Zabbix tells nobody about updates that they made themselves.
  uid=$(api user.get '{"filter":{"username":"akmatori"}}' | id_of userid)
  [ -n "$uid" ] || uid=$(api user.create "$(jq -nc --arg p "$(rand_hex 16)" \
    '{username:"akmatori",passwd:$p,roleid:"3",usrgrps:[{usrgrpid:"7"}]}')" | jq -r '.userids[0]')
  api user.update "$(jq -nc --arg u "$uid" --arg i "$id" \
    '{userid:$u,medias:[{mediatypeid:$i,sendto:"akmatori",active:"0",severity:"63",period:"1-7,00:00-24:00"}]}')" >/dev/null
  op=$(jq -nc --arg i "$id" --arg u "$uid" '{operationtype:0,opmessage:{default_msg:1,mediatypeid:$i},opmessage_usr:[{userid:$u}]}')
  act=$(jq -nc --arg h "$(fact ZABBIX_HOSTID)" --argjson op "$op" '{name:"Akmatori",status:0,esc_period:"1m",
    filter:{evaltype:0,conditions:[{conditiontype:1,operator:0,value:$h}]},
    operations:[$op+{esc_step_from:1,esc_step_to:1,esc_period:"0"}],recovery_operations:[$op],update_operations:[$op]}')
  aid=$(api action.get '{"filter":{"name":"Akmatori"}}' | id_of actionid)
  if [ -n "$aid" ]; then
    api action.update "$(jq -c --arg i "$aid" '. + {actionid:$i}' <<<"$act")" >/dev/null
  else aid=$(api action.create "$(jq -c '. + {eventsource:0}' <<<"$act")" | jq -r '.actionids[0]'); fi
  reload
  printf 'MEDIATYPEID=%s\nACTIONID=%s\nWEBHOOK_URL=%s\n' "$id" "$aid" "$url"
}
macro() { # NAME VALUE TYPE: a global macro; type 1 is a secret text
  local id
  id=$(api usermacro.get "$(jq -nc --arg n "$1" '{globalmacro:true,filter:{macro:$n}}')" | id_of globalmacroid)
  if [ -n "$id" ]; then
    api usermacro.updateglobal "$(jq -nc --arg i "$id" --arg v "$2" --arg t "$3" '{globalmacroid:$i,value:$v,type:$t}')" >/dev/null
  else api usermacro.createglobal "$(jq -nc --arg n "$1" --arg v "$2" --arg t "$3" '{macro:$n,value:$v,type:$t}')" >/dev/null; fi
}

halt() {
  stop_daemon zabbix_agentd
  stop_daemon zabbix_server TERM 30
  stop_daemon zabbix_php
}
halt_all() {
  halt
  [ ! -d "$DIR/pg/data" ] || pgd stop
}
up() { alive zabbix_server && alive zabbix_php || die "not running in $DIR"; }

cmd=${1:-}
shift || true
case $cmd in
  start)
    [ $# -ge 1 ] || die "usage: $PROG start DIR [WEB_PORT [TRAPPER_PORT [AGENT_PORT]]]"
    start "$@"
    ;;
  stop) stop_peer halt_all "$@" ;;
  status) peer_status "${1:-}" zabbix_server zabbix_php ;;
  webhook)
    [ $# -eq 3 ] || die "usage: $PROG webhook DIR URL SECRET"
    have_dir "$1"
    up
    webhook "$@"
    ;;
  trip)
    have_dir "${1:-}"
    up
    trip "$@"
    ;;
  recover)
    have_dir "${1:-}"
    up
    recover "$@"
    ;;
  ack)
    have_dir "${1:-}"
    up
    ev=$(open_problem "$(trig_id "${3:-peer.trap}")" | id_of eventid)
    [ -n "$ev" ] || die "no open problem"
    api event.acknowledge "$(jq -nc --arg e "$ev" --arg m "${2:-looking into it}" '{eventids:$e,action:6,message:$m}')" >/dev/null
    echo "EVENTID=$ev"
    ;;
  alerts)
    have_dir "${1:-}"
    up
    api alert.get '{"output":["alertid","eventid","p_eventid","clock","status","retries","error","subject"],"sortfield":"alertid"}' | jq -c ".[]"
    ;;
  api)
    [ $# -ge 2 ] || die "usage: $PROG api DIR METHOD [PARAMS_JSON]"
    have_dir "$1"
    up
    out=$(api "$2" "${3:-}")
    jq . <<<"$out"
    ;;
  agent-stop)
    have_dir "${1:-}"
    stop_daemon zabbix_agentd
    ;;
  agent-start)
    have_dir "${1:-}"
    ZU=$(who zabbix)
    alive zabbix_agentd || start_agent
    ;;
  *) die "usage: $PROG start|stop|status|webhook|trip|recover|ack|alerts|api|agent-stop|agent-start DIR ... (see the head of the file)" ;;
esac
