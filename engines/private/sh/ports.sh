# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# Ports for one set. All are below 32768: a client that keeps reconnecting to a closed port of the ephemeral range can
# end up connected to itself and hold the port.

declare -A port=()
ports_first=20000
ports_per_set=32
ports_sets=380
ports_names=(redis rabbitmq mariadb rabbitmq-distribution epmd
    cluster-{1..6} cluster-bus-{1..6}
    sentinel-master sentinel-replica sentinel-1 sentinel-2 sentinel-3
    broker-1 broker-2 broker-3 broker-1-distribution broker-2-distribution broker-3-distribution management
    redis-tls rabbitmq-tls)

# Takes a block of ports that no other set holds and nobody listens on. The reservation is a lock on an open file: it
# ends with the processes of the set, and nothing needs to be tidied up. The files are shared by all users of the
# machine, so they are opened for reading only.
reserve_ports() {
    local locks=/tmp/chinwag-ports taken block first at i lock
    [[ -d $locks ]] || mkdir -m 1777 "$locks" 2>/dev/null || [[ -d $locks ]] || fail "cannot make $locks"
    # Local ports in state LISTEN (0A), as hexadecimal numbers.
    taken=" $(awk '$4 == "0A" { sub(/.*:/, "", $2); printf "%s ", $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)"
    at=$((SRANDOM % ports_sets))
    for ((i = 0; i < ports_sets; i++)); do
        block=$(((at + i) % ports_sets))
        [[ -e $locks/$block ]] || (umask 022 && : >"$locks/$block") 2>/dev/null
        { exec {lock}<"$locks/$block"; } 2>/dev/null || continue
        first=$((ports_first + block * ports_per_set))
        if flock -n "$lock" && block_is_free "$first" "$taken"; then
            for at in "${!ports_names[@]}"; do
                port[${ports_names[$at]}]=$((first + at))
            done
            return
        fi
        exec {lock}<&-
    done
    fail "no free ports between $ports_first and $((ports_first + ports_per_set * ports_sets))"
}

block_is_free() {
    local one hex
    for ((one = $1; one < $1 + ports_per_set; one++)); do
        printf -v hex '%04X' "$one"
        [[ $2 != *" $hex "* ]] || return 1
    done
}

# connect PORT: opens a connection as file descriptor `connection`.
connect() {
    { exec {connection}<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null
}

disconnect() {
    exec {connection}>&-
}
