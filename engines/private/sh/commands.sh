# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# The commands a set obeys, one at a time in the order they came.

answer_commands() {
    local line id answer
    while IFS= read -r -u "$control" line; do
        id=${line%% *}
        answer=
        if run_command "${line#* }"; then
            answer="ok${answer:+ $answer}"
        else
            answer="err ${problem:-it failed}"
        fi
        if [[ $id == - ]]; then
            printf '%s\n' "$answer"
        elif [[ $id =~ ^[A-Za-z0-9_-]+$ ]]; then
            printf '%s\n' "$answer" >"$set_dir/answers/$id"
        fi
    done
}

# Sets `answer` (what follows `ok`) or `problem`.
run_command() {
    local verb what names name
    problem=
    read -r verb what <<<"$1"
    case $verb in
        vhost) rabbitmq_vhost "$what"; return ;;
        user) rabbitmq_user "$what"; return ;;
        alarm) rabbitmq_alarm "$what"; return ;;
        database) mariadb_database "$what"; return ;;
        dump) mariadb_dump "$what"; return ;;
        undump) mariadb_undump "$what"; return ;;
        save | load) copy_data "$verb" "$what"; return ;;
        status) status; return ;;
        kill | stop | start | freeze | thaw | wipe) ;;
        *) problem="unknown command $verb (see engines.sh --help)"; return 1 ;;
    esac
    case $what in
        redis | rabbitmq | mariadb | cluster-[1-6] | sentinel-master | sentinel-replica | sentinel-[123] | broker-[123]) names=("$what") ;;
        cluster) names=(cluster-{1,2,3}) ;;
        replicas) names=(cluster-{4,5,6}) ;;
        sentinel) names=(sentinel-{master,replica,1,2,3}) ;;
        brokers) names=(broker-{1,2,3}) ;;
        *) problem="there is no engine called $what"; return 1 ;;
    esac
    for name in "${names[@]}"; do
        if [[ $verb == start ]]; then
            # A Sentinel asks its master for replicas when it connects and then only every 10 s.
            if [[ $what == sentinel && $name == sentinel-1 ]]; then
                await_condition redis_replica_is_linked || { problem="the replica did not find its master"; return 1; }
            fi
            launch "$name" || return 1
        elif [[ $verb == wipe ]]; then
            { ! is_running "$name" || end "$name" KILL; } && redis_wipe "$name" || return 1
        else
            is_running "$name" || { problem="$name is not running"; return 1; }
            case $verb in
                kill) end "$name" KILL || return 1 ;;
                stop) end "$name" TERM || return 1 ;;
                freeze) signal STOP "${pid[$name]}"; await_frozen "$name" ;;
                thaw) signal CONT "${pid[$name]}"; unset "frozen[$name]" ;;
            esac
        fi
    done
    [[ $verb == start ]] || return 0
    for name in "${names[@]}"; do
        await "$name" || return 1
    done
    case $what in
        cluster)
            redis_join_cluster || return 1
            await_condition redis_cluster_is_whole || { problem="the cluster did not form"; return 1; }
            ;;
        replicas)
            redis_join_replicas || return 1
            await_condition redis_replicas_are_linked || { problem="the replicas did not find their masters"; return 1; }
            ;;
        sentinel)
            await_condition redis_sentinels_agree || { problem="the sentinels did not find each other"; return 1; }
            ;;
        brokers)
            await_condition rabbitmq_cluster_is_whole || { problem="the brokers did not find each other"; return 1; }
            ;;
    esac
    for name in "${names[@]}"; do
        answer+="${answer:+ }$name=127.0.0.1:${port[$name]}"
    done
    [[ $what != sentinel ]] || answer+=" master-name=chinwag"
}

# copy_data save|load 'NAME FOLDER': what an engine has on its disk, into a folder that is not there yet, or back out of it in
# the place of what it has. A broker that runs writes in several files, which is why it has to be stopped for either.
copy_data() {
    local name folder data from to
    read -r name folder <<<"$2"
    case $name in
        redis) data=appendonlydir ;;
        rabbitmq) data=mnesia ;;
        *) problem="only redis and rabbitmq can be saved and loaded"; return 1 ;;
    esac
    [[ $folder == /* ]] || { problem="a folder's path begins with /"; return 1; }
    if [[ $1 == load || $name == rabbitmq ]] && is_running "$name"; then
        problem="$name is running"
        return 1
    fi
    if [[ $1 == save ]]; then
        from=$set_dir/$name/$data to=$folder
    else
        from=$folder to=$set_dir/$name/$data
        rm -rf "$to"
    fi
    problem=$(cp -a "$from" "$to" 2>&1) && return
    problem=${problem//$'\n'/ }
    return 1
}

# launch NAME: starts the process, unless it is running already.
launch() {
    if is_running "$1"; then
        [[ -z ${frozen[$1]:-} ]] || { problem="$1 is frozen"; return 1; }
        return 0
    fi
    [[ -z ${pid[$1]:-} ]] || reap "$1"
    case $1 in
        rabbitmq | broker-*) rabbitmq_launch "$1" ;;
        mariadb) mariadb_launch ;;
        *) redis_launch "$1" ;;
    esac
}

# await NAME: returns when the engine accepts requests.
await() {
    local name=$1 check
    local -i limit=$((SECONDS + start_limit_s))
    case $name in
        rabbitmq | broker-*) check=rabbitmq_is_ready ;;
        mariadb) check=mariadb_is_ready ;;
        *) check=redis_is_ready ;;
    esac
    until "$check" "$name"; do
        if ! is_running "$name"; then
            problem="$name ended: $(last_words "$set_dir/log/$name" "$set_dir/$name"/log/*.log)"
            return 1
        elif ((SECONDS > limit)); then
            problem="$name did not answer in $start_limit_s s: $(last_words "$set_dir/log/$name" "$set_dir/$name"/log/*.log)"
            return 1
        fi
        pause 0.02
    done
}

await_condition() {
    local -i limit=$((SECONDS + start_limit_s))
    until "$@"; do
        ((SECONDS <= limit)) || return 1
        pause 0.05
    done
}

# end NAME SIGNAL: returns when the process is gone.
end() {
    local name=$1
    local -i limit=$((SECONDS + start_limit_s))
    if [[ $2 == TERM ]]; then
        [[ -z ${frozen[$name]:-} ]] || { problem="$name is frozen"; return 1; }
        # Only the engine itself: what it forked ends by its orders.
        kill -TERM "${pid[$name]}" 2>/dev/null
        while is_running "$name"; do
            ((SECONDS <= limit)) || { problem="$name did not end in $start_limit_s s"; return 1; }
            pause 0.02
        done
    else
        signal KILL "${pid[$name]}"
    fi
    reap "$name"
}

# The signal is sent at once, but each thread stops a little later.
await_frozen() {
    local state _
    frozen[$1]=1
    await_condition process_is_stopped "${pid[$1]}"
}

process_is_stopped() {
    local task state
    for task in "/proc/$1/task"/*/stat; do
        read -r state <"$task" || continue
        state=${state##*) }
        [[ $state == T* ]] || return 1
    done
} 2>/dev/null

status() {
    local name
    for name in redis rabbitmq mariadb cluster-{1..6} sentinel-{master,replica,1,2,3} broker-{1,2,3}; do
        if is_running "$name"; then
            answer+="${answer:+ }$name=${frozen[$name]:+frozen:}${pid[$name]}"
        fi
    done
}
