#!/bin/sh
# One of three servers that Sentinels watch, and its Sentinel: `server` and `sentinel` start them, `hand-over` comes before a stop, `in-step` is
# a probe. Words behind the first two are the program and its options.
#
# Addresses are those of a Service for each pod: they stay when a pod moves, and no DNS is asked while a node is dead. Sentinel and Redis
# resolve names in their only thread, and a name server that is as dead as the primary would stop both.
set -eu

PORT=${PORT:-6379} SENTINEL_PORT=${SENTINEL_PORT:-26379} HERE=${HERE:-127.0.0.1} DATA=${DATA:-/data} PATIENCE=${PATIENCE:-5}
DOWN_AFTER_MS=${DOWN_AFTER_MS:-5000} ALL_START_SECONDS=${ALL_START_SECONDS:-60} SILENT_LOOKS=3
CONFIGURATION=$DATA/sentinel.conf
export REDISCLI_AUTH="$REDIS_PASSWORD" VALKEYCLI_AUTH="$REDIS_PASSWORD"

cli() { timeout 2 "$CLI" "$@" 2>/dev/null || true; }

address() {
  until set -- "$1" $(getent hosts "$1") && [ $# -gt 1 ]; do sleep 1; done
  echo "$2"
}

views() { for other in $OTHERS; do told_by "$other"; done; }

# Who of us is the primary: the newest of those views and of what our own Sentinel wrote down; else the first. One that was away while another
# took over may be the first to start.
newest() {
  found=$({ written_down && echo "$1"; } | grep . | sort -s -n -k 1,1 | tail -n 1)
  found=${found#* }
  case " $ALL " in *" ${found:-nobody} "*) echo "$found" ;; *) echo "${ALL%% *}" ;; esac
}

# Both print an epoch, which grows each time that another takes over, and an address.
told_by() {
  set -- $(cli -h "$1" -p "$SENTINEL_PORT" sentinel master main | sed -n '/^ip$/{n;p;};/^config-epoch$/{n;p;}')
  [ $# -ne 2 ] || echo "$2 $1"
}

written_down() {
  epoch=$(sed -n 's/^sentinel config-epoch main //p' "$CONFIGURATION" 2>/dev/null)
  echo "${epoch:-0} $(grep -s '^sentinel monitor main ' "$CONFIGURATION" | at_new_addresses | cut -d ' ' -f 4)"
}

# The Services may have been made again since it was written.
at_new_addresses() {
  replace='s/^//'
  set -- $ALL
  for old in $(sed -n 's/^# for //p' "$CONFIGURATION" 2>/dev/null); do
    replace="$replace;s/ $old / =$1= /"
    shift
  done
  sed "$replace;s/=//g"
}

# One that comes back without its data must not be the primary: its replicas would drop theirs. One of them takes over, as they are known.
would_empty_its_replicas() {
  [ "$1" = "$SELF" ] && ! [ -e "$DATA/appendonlydir" ] && ! [ -e "$DATA/appendonly.aof" ] || return 1
  for other in $OTHERS; do
    case $(cli -h "$other" -p "$SENTINEL_PORT" sentinel master main | sed -n '/^num-slaves$/{n;p;}') in [1-9]*) return 0 ;; esac
  done
  return 1
}

server() {
  # It is of a synchronisation long ago, where nothing is kept on purpose.
  [ -e "$DATA/appendonlydir" ] || [ -e "$DATA/appendonly.aof" ] || rm -f "$DATA/dump.rdb"
  while :; do
    theirs=$(views) # without another's word it might be a primary that was replaced
    leader=$(newest "$theirs")
    [ -z "$theirs" ] || would_empty_its_replicas "$leader" || break
    sleep 1
  done
  [ "$leader" = "$SELF" ] || set -- "$@" --replicaof "$leader" "$PORT"
  exec "$@" --replica-announce-ip "$SELF" --replica-announce-port "$PORT"
}

# A dial that is refused while a pod has no address, and taken when its kernel tries again, leaves the refusal in the socket's error queue. No
# Redis reads that: it turns round and round on a socket that is never done, and takes a whole core. A new connection is the cure: a Sentinel
# makes new ones to servers when it is told a password, and to other Sentinels only when it starts.
stay_calm() {
  again=
  while sleep 10 && kill -0 $$; do
    if ! turns_idly "$SENTINEL_PORT"; then
      again=
    elif [ -z "$again" ]; then
      again=yes
      printf 'sentinel set main auth-pass %s\n' "$REDIS_PASSWORD" | cli -h "$HERE" -p "$SENTINEL_PORT"
    else
      kill $$
    fi
    ! turns_idly "$PORT" || cli -h "$HERE" -p "$PORT" client kill type master
  done
}

turns_idly() {
  set -- $(cli -h "$HERE" -p "$1" info stats | tr -d '\r' | sed -nE 's/^instantaneous_(ops|eventloop_cycles)_per_sec://p')
  [ $# -eq 2 ] && [ "$2" -gt $((10000 + 2 * $1)) ]
}

sentinel() {
  for _ in $(seq "$PATIENCE"); do
    theirs=$(views)
    [ -z "$theirs" ] || break
    sleep 1
  done
  leader=$(newest "$theirs")
  first_ms=$DOWN_AFTER_MS
  if [ -z "$theirs" ]; then # All start. Until the others are in step, the last primary is waited for.
    first_ms=$((ALL_START_SECONDS * 1000))
    { others_follow "$leader" && cli -h "$HERE" -p "$SENTINEL_PORT" sentinel set main down-after-milliseconds "$DOWN_AFTER_MS"; } >/dev/null &
  fi
  state='current-epoch|config-epoch|leader-epoch|known-sentinel|known-replica'
  kept=$(grep -sE "^sentinel ($state)" "$CONFIGURATION" | at_new_addresses | grep -v "^sentinel known-replica main $leader " || true)
  umask 077
  # Its identity is the pod's, so that one which comes back is not counted as one more.
  cat > "$CONFIGURATION.new" <<END
# for $ALL
port $SENTINEL_PORT
dir $DATA
requirepass $REDIS_PASSWORD
sentinel myid $(printf %s "$NAME" | sha1sum | cut -c 1-40)
sentinel announce-ip $SELF
sentinel announce-port $SENTINEL_PORT
sentinel monitor main $leader $PORT 2
sentinel auth-pass main $REDIS_PASSWORD
sentinel down-after-milliseconds main $first_ms
sentinel failover-timeout main 10000
$kept
END
  mv "$CONFIGURATION.new" "$CONFIGURATION"
  stay_calm >/dev/null 2>&1 &
  exec "$@" "$CONFIGURATION" --sentinel
}

# Returns when a primary has both others in step, after ALL_START_SECONDS in any case; not before our Sentinel can be told.
others_follow() {
  for _ in $(seq "$ALL_START_SECONDS"); do
    sleep 1
    case $(cli -h "$HERE" -p "$SENTINEL_PORT" ping) in PONG) ;; *) continue ;; esac
    [ "$(cli -h "$1" -p "$PORT" info replication | grep -c ',state=online,')" -lt 2 ] || return 0
  done
}

# Writes wait from here on, so that what was answered has reached the one that takes over; they fail when this one stops. Where no other Sentinel
# is there, all of us stop, and nobody takes over: whoever comes next waits for our place.
hand_over() {
  case $(cli -h "$HERE" -p "$PORT" info replication) in *role:master*) ;; *) return ;; esac
  cli -h "$HERE" -p "$PORT" client pause 15000 write >/dev/null
  silent=0
  for _ in $(seq 10); do
    silent=$((silent + 1))
    for other in $OTHERS; do
      found=$(cli -h "$other" -p "$SENTINEL_PORT" sentinel get-master-addr-by-name main | head -n 1)
      [ -z "$found" ] || silent=0
      case " $ALL " in *" ${found:-nobody} "*) [ "$found" = "$SELF" ] || return 0 ;; esac
    done
    [ "$silent" -lt "$SILENT_LOOKS" ] || return 0
    for other in $OTHERS; do
      [ "$silent" -eq 0 ] || break
      case $(cli -h "$other" -p "$SENTINEL_PORT" sentinel failover main) in OK | *INPROG*) break ;; esac
    done
    sleep 1
  done
}

in_step() {
  [ "$(cli -h "$HERE" -p "$PORT" ping)" = PONG ] && cli -h "$HERE" -p "$PORT" info replication | grep -qE '^(role:master|master_link_status:up)'
}

role=$1
shift
case $role in
hand-over | server | sentinel)
  ALL='' OTHERS='' SELF=''
  for name in $NODES; do
    at=$(address "$name")
    ALL="$ALL${ALL:+ }$at"
    if [ "$name" = "$NAME" ]; then SELF=$at; else OTHERS="$OTHERS $at"; fi
  done
  ;;
esac
case $role in
server) server "$@" ;;
sentinel) sentinel "$@" ;;
hand-over) hand_over ;;
in-step) in_step ;;
esac
