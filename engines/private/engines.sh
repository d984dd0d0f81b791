#!/usr/bin/env bash
# Private Redis, RabbitMQ and MariaDB servers for tests and for trying things by hand.
#
# The services are tested against the real engines, and many tests kill or freeze them. So a test run needs engines
# of its own, that share nothing with the system's, can run many times side by side, and leave nothing behind however
# their owner ends. This script is that: it starts a set in a fresh temporary folder on free ports, obeys commands,
# and clears everything away when its standard input ends.

set -uo pipefail

# Where servers lie is not on everybody's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
script=$(readlink -f "${BASH_SOURCE[0]}")
parts=$(dirname "$script")/sh
# shellcheck source=sh/processes.sh
source "$parts/processes.sh"
# shellcheck source=sh/ports.sh
source "$parts/ports.sh"
# shellcheck source=sh/redis.sh
source "$parts/redis.sh"
# shellcheck source=sh/rabbitmq.sh
source "$parts/rabbitmq.sh"
# shellcheck source=sh/mariadb.sh
source "$parts/mariadb.sh"
# shellcheck source=sh/commands.sh
source "$parts/commands.sh"
# shellcheck source=sh/install.sh
source "$parts/install.sh"
# shellcheck source=sh/newer.sh
source "$parts/newer.sh"
# shellcheck source=sh/tls.sh
source "$parts/tls.sh"

# How long an engine may take to answer after it was started, in seconds. A machine that builds at the same time can
# make RabbitMQ's 3 s into 20 s; more than this means that it will not come.
start_limit_s=90

usage() {
    cat <<'USAGE'
engines.sh [serve] [--only redis,rabbitmq,mariadb] [--management] [--tls]
    Starts the engines, RabbitMQ with its management API if asked for (3 s more), prints one line
        ready REDIS_URL=... AMQP_URL=... DATABASE_URL=... CONTROL=...
    With --tls these are reached by TLS, with a certificate of an authority of the set's own, TLS_CA=... (a file), beside
    which there is another that has nothing to do with it, another-ca.pem.
    (or `err ...`, and ends with 1), then answers each line of standard input with one line, `ok ...` or `err ...`.
    When standard input ends, everything is killed at once and the folder removed.

        kill ENGINE       SIGKILL; answers when the process is gone
        stop ENGINE       orderly shutdown; answers when the process is gone
        start ENGINE      again, on the same port and data; answers when it accepts requests
        freeze ENGINE     SIGSTOP of the whole engine
        thaw ENGINE       SIGCONT
        wipe ENGINE       kills a Redis server and removes its data: it comes back empty at the next start
        start cluster     three Redis nodes; answers with their addresses
        start replicas    three more of that cluster, each the replica of one: cluster-4 to -6
        start sentinel    a master, a replica and three sentinels; answers with their addresses and the master's name
        start brokers     a RabbitMQ cluster of three; answers with their addresses
        vhost NAME        makes a RabbitMQ virtual host in which guest may do everything
        user NAME PASSWORD VHOST CONFIGURE WRITE READ
                          makes a RabbitMQ user who may do that much in it
        alarm on|off      RabbitMQ's alarm, as if it were low on memory: it takes nothing
        database NAME     makes a MariaDB database
        dump NAME FILE [OPTION...]
                          writes a MariaDB database to a file, by mariadb-dump with these options
        undump NAME FILE  throws the database away and makes it of that file
        save ENGINE FOLDER
                          copies what redis, or a stopped rabbitmq, has on its disk to a folder that is not there yet
        load ENGINE FOLDER
                          gives either, while it is stopped, what was saved in the place of what it has
        status            the state of each engine

    ENGINE: redis, rabbitmq, mariadb, cluster-1 to -6, sentinel-master, sentinel-replica, sentinel-1 to -3,
    broker-1 to -3, or cluster, replicas, sentinel, brokers for all of theirs.

    Other processes may use the FIFO named by CONTROL: they write one line `ID COMMAND`, and the answer is the line
    that appears in the file answers/ID beside the FIFO. ID is theirs to choose, once: letters, digits, `_`, `-`.

engines.sh up [--only ...] -- COMMAND...
    Runs COMMAND with REDIS_URL, AMQP_URL, DATABASE_URL (a database `chinwag`) and CHINWAG_ENGINES (what `ready`
    said), ends with its exit code and takes the engines down.

engines.sh install
    Installs what is missing with apt-get. Needs root, or sudo, only if something is missing.

engines.sh install newer
    Unpacks Valkey, Redis, RabbitMQ and MySQL of Debian's next release into the user's cache, 430 MB. With
    CHINWAG_NEWER_ENGINES=valkey,rabbitmq,mysql (or redis for valkey, or fewer of them) sets are made of these;
    what is called mariadb above is then MySQL.
USAGE
}

# Reads `--only A,B` into `only`, and leaves the other arguments in `arguments`.
read_options() {
    only=(redis rabbitmq mariadb)
    with_management= with_tls=
    arguments=()
    while (($#)); do
        case $1 in
            --only) IFS=, read -r -a only <<<"${2:-}"; shift 2 || fail "--only needs a list of engines" ;;
            --only=*) IFS=, read -r -a only <<<"${1#*=}"; shift ;;
            --management) with_management=yes; shift ;;
            --tls) with_tls=yes; shift ;;
            --) shift; arguments=("$@"); return ;;
            *) fail "unknown option $1 (see engines.sh --help)" ;;
        esac
    done
}

fail() {
    printf 'err %s\n' "$*"
    exit 1
}

serve() {
    read_options "$@"
    local engine
    check_newer
    for engine in "${only[@]}"; do
        case $engine in
            redis) needs redis-server redis-cli ;;
            rabbitmq) needs "$rabbitmq_server" erl epmd ;;
            mariadb) needs mariadbd mariadb mariadb-install-db ;;
            *) fail "there is no engine called $engine" ;;
        esac
    done
    # The servers that look at the locale refuse to start with one that is not installed.
    unset LANGUAGE "${!LC_@}"
    export LC_ALL=C.UTF-8

    open_set
    prepare_newer
    reserve_ports
    if [[ -n $with_tls ]]; then
        needs openssl
        make_certificates
    fi
    for engine in "${only[@]}"; do
        launch "$engine" || fail "$problem"
    done
    local ready=ready
    for engine in "${only[@]}"; do
        await "$engine" || fail "$problem"
        case $engine in
            redis) ready+=" REDIS_URL=redis${with_tls:+s}://127.0.0.1:${port[redis${with_tls:+-tls}]}" ;;
            rabbitmq) ready+=" AMQP_URL=amqp${with_tls:+s}://guest:guest@127.0.0.1:${port[rabbitmq${with_tls:+-tls}]}${with_management:+ MANAGEMENT_URL=http://guest:guest@127.0.0.1:${port[management]}}" ;;
            mariadb) ready+=" DATABASE_URL=mysql://chinwag:chinwag@127.0.0.1:${port[mariadb]}" ;;
        esac
    done
    printf '%s\n' "$ready${with_tls:+ TLS_CA=$set_dir/tls/ca.pem} CONTROL=$set_dir/control"
    answer_commands
}

# `up` is only another owner of a served set: it holds the pipe that is the set's standard input, so that a `kill -9`
# of this process ends the set the same way as its orderly end.
up() {
    read_options "$@"
    ((${#arguments[@]})) || fail "up needs -- COMMAND"
    local list ready rc
    list=$(IFS=,; printf '%s' "${only[*]}")
    # Its own session, so that a Ctrl-C reaches COMMAND and leaves it the engines while it ends.
    coproc SET { exec setsid "$BASH" "$script" serve --only "$list"; }
    # shellcheck disable=SC2153 # `coproc` sets it
    local set_pid=$SET_PID to_set from_set
    local reading=${SET[0]} writing=${SET[1]}
    exec {to_set}>&"$writing" {from_set}<&"$reading" {writing}>&- {reading}<&-
    trap 'exit 143' TERM INT HUP

    IFS= read -r -u "$from_set" ready || ready="err the engines ended without a word"
    if [[ $ready != ready\ * ]]; then
        printf '%s\n' "$ready" >&2
        exit 1
    fi
    local word
    for word in ${ready#ready }; do
        case $word in
            DATABASE_URL=*)
                printf 'database chinwag\n' >&"$to_set"
                local answer
                IFS= read -r -u "$from_set" answer
                [[ $answer == ok* ]] || { printf '%s\n' "$answer" >&2; exit 1; }
                export "$word/chinwag"
                ;;
            CONTROL=*) ;;
            *) export "${word?}" ;;
        esac
    done
    export CHINWAG_ENGINES="$ready"

    # In the background, so that a signal to this script is seen at once; bash would make such a command deaf to
    # Ctrl-C, which `env` undoes.
    env --default-signal=INT,QUIT "${arguments[@]}" <&0 {to_set}>&- {from_set}<&- &
    local command_pid=$!
    trap 'kill -TERM "$command_pid" 2>/dev/null' TERM HUP
    # The terminal tells COMMAND itself.
    trap '[[ -t 2 ]] || kill -INT "$command_pid" 2>/dev/null' INT
    while :; do
        wait "$command_pid"
        rc=$?
        # `wait` also returns when a trap ran; COMMAND may want its time to end.
        kill -0 "$command_pid" 2>/dev/null || break
    done
    trap '' TERM HUP INT
    exec {to_set}>&-
    wait "$set_pid" 2>/dev/null
    exit "$rc"
}

case ${1:-serve} in
    serve) shift; serve "$@" ;;
    --only | --only=*) serve "$@" ;;
    up) shift; up "$@" ;;
    install) if [[ ${2:-} == newer ]]; then install_newer; else install_missing; fi ;;
    guard) guard "$2" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
