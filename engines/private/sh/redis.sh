# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# Redis: the single server, and on demand a Cluster of three, its three replicas, and a Sentinel set. Each node keeps an append-only file
# that is synced every second, as the services ask of a real one.

redis_launch() {
    local name=$1 folder=$set_dir/$1
    mkdir -p "$folder"
    # A node keeps its settings in its folder and not on its command line because a Sentinel rewrites them.
    [[ -s $folder/redis.conf ]] || redis_settings "$name" >"$folder/redis.conf"
    local server=(redis-server redis.conf)
    if is_newer valkey; then
        server=("${within[@]}" valkey-server redis.conf)
    elif is_newer redis; then
        server=("${within[@]}" redis-server redis.conf)
    fi
    [[ $name != sentinel-[123] ]] || server+=(--sentinel)
    spawn "$name" "$folder" "${server[@]}"
}

redis_settings() {
    local name=$1
    printf '%s\n' 'bind 127.0.0.1' "port ${port[$name]}" 'daemonize no' 'dir .'
    case $name in
        sentinel-[123])
            printf '%s\n' \
                "sentinel monitor chinwag 127.0.0.1 ${port[sentinel-master]} 2" \
                'sentinel down-after-milliseconds chinwag 1000' \
                'sentinel failover-timeout chinwag 3000'
            return
            ;;
        cluster-*)
            printf '%s\n' 'cluster-enabled yes' 'cluster-config-file nodes.conf' 'cluster-node-timeout 2000' \
                'cluster-require-full-coverage no' \
                "cluster-port ${port[cluster-bus-${name##*-}]}"
            ;;
        sentinel-replica) printf '%s\n' "replicaof 127.0.0.1 ${port[sentinel-master]}" ;;
        redis)
            [[ -z ${with_tls-} ]] || printf '%s\n' "tls-port ${port[redis-tls]}" "tls-ca-cert-file $set_dir/tls/ca.pem" \
                "tls-cert-file $set_dir/tls/server.pem" "tls-key-file $set_dir/tls/server.key" 'tls-auth-clients no'
            ;;
    esac
    printf '%s\n' 'save ""' 'appendonly yes' 'appendfsync everysec' 'repl-diskless-sync-delay 0'
}

redis_is_ready() {
    local word
    connect "${port[$1]}" || return 1
    printf 'PING\r\n' >&"$connection"
    IFS= read -r -t 2 -u "$connection" word
    disconnect
    [[ $word == +PONG* ]]
}

redis_wipe() {
    local folder=$set_dir/$1
    case $1 in
        redis | sentinel-master | sentinel-replica) rm -rf "$folder"/appendonlydir "$folder"/*.rdb "$folder"/*.aof ;;
        *) problem="only redis, sentinel-master and sentinel-replica can be wiped"; return 1 ;;
    esac
}

redis_ask() {
    local name=$1
    shift
    timeout 5 redis-cli -h 127.0.0.1 -p "${port[$name]}" "$@" 2>&1
}

# Joins three empty nodes. `redis-cli --cluster create` does the same but waits in whole seconds.
redis_join_cluster() {
    local node other first answer
    local slots=(0 5460 5461 10922 10923 16383)
    [[ ! -e $set_dir/cluster-joined ]] || return 0
    for node in 1 2 3; do
        first=$(((node - 1) * 2))
        answer=$(redis_ask "cluster-$node" CLUSTER ADDSLOTSRANGE "${slots[first]}" "${slots[first + 1]}")
        [[ $answer == OK ]] || { problem="cluster-$node: $answer"; return 1; }
        redis_ask "cluster-$node" CLUSTER SET-CONFIG-EPOCH "$node" >/dev/null
    done
    for node in 1 2 3; do
        for other in 1 2 3; do
            ((node < other)) || continue
            redis_ask "cluster-$node" CLUSTER MEET 127.0.0.1 "${port[cluster-$other]}" "${port[cluster-bus-$other]}" \
                >/dev/null
        done
    done
    : >"$set_dir/cluster-joined"
}

redis_cluster_is_whole() {
    local node answer
    for node in 1 2 3; do
        answer=$(redis_ask "cluster-$node" CLUSTER INFO)
        [[ $answer == *cluster_state:ok* && $answer == *cluster_known_nodes:[36]* ]] || return 1
        # A client that asks for the slots must get a port for each: known from the first handshake on.
        answer=$(redis_ask "cluster-$node" CLUSTER NODES)
        [[ $answer != *handshake* && $answer != *noaddr* ]] || return 1
    done
}

# Makes cluster-4 to -6 the replicas of cluster-1 to -3.
redis_join_replicas() {
    local node master
    [[ ! -e $set_dir/replicas-joined ]] || return 0
    for node in 4 5 6; do
        redis_ask "cluster-$node" CLUSTER MEET 127.0.0.1 "${port[cluster-1]}" "${port[cluster-bus-1]}" >/dev/null
    done
    for node in 4 5 6; do
        master=$(redis_ask "cluster-$((node - 3))" CLUSTER MYID)
        # It is told again until it has heard of its master.
        await_condition redis_follows "cluster-$node" "$master" || { problem="cluster-$node does not know its master"; return 1; }
    done
    : >"$set_dir/replicas-joined"
}

redis_follows() {
    [[ $(redis_ask "$1" CLUSTER REPLICATE "$2") == OK ]]
}

# All know all six, and each of the three pairs is linked, whichever of the two is the master by now.
redis_replicas_are_linked() {
    local node answer
    for node in 1 2 3 4 5 6; do
        answer=$(redis_ask "cluster-$node" CLUSTER INFO)
        [[ $answer == *cluster_state:ok* && $answer == *cluster_known_nodes:6* ]] || return 1
        answer=$(redis_ask "cluster-$node" INFO replication)
        [[ $answer == *master_link_status:up* || $answer == *connected_slaves:1* ]] || return 1
    done
}

redis_replica_is_linked() {
    [[ $(redis_ask sentinel-replica INFO replication) == *master_link_status:up* ]] ||
        # After a failover the roles are the other way round.
        [[ $(redis_ask sentinel-master INFO replication) == *master_link_status:up* ]]
}

redis_sentinels_agree() {
    local node answer
    for node in 1 2 3; do
        answer=$(redis_ask "sentinel-$node" INFO sentinel)
        [[ $answer == *status=ok,*slaves=1,sentinels=3* ]] || return 1
    done
}
