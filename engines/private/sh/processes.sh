# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# One set's folder and processes: how they are started, how they are ended, and who sees to it when this script itself
# is killed.

declare -A pid=()     # engine -> process id, of those that were started and not yet ended on purpose
declare -A frozen=()  # engine -> 1
set_dir=
problem=              # why the last function that failed did so, on one line

needs() {
    has "$@" || fail "one of $* is not installed: run engines.sh install"
}

# Makes the folder, the guard and the control FIFO. After this everything goes away with the script.
open_set() {
    local parent=${TMPDIR:-/tmp}
    # MariaDB's socket lies below, and the path of a socket must be shorter than 108 bytes; the control's path is one
    # word of the ready line.
    if ((${#parent} > 70)) || [[ $parent == *[[:space:]]* || $parent != /* ]]; then parent=/tmp; fi
    set_dir=$(mktemp -d "$parent/chinwag-engines.XXXXXX") || fail "no temporary folder in $parent"
    mkdir "$set_dir"/{run,log,answers}
    mkfifo "$set_dir/control"

    # Nobody but this process holds the writing end of the lifeline, so the guard reads its end when this process
    # ends, whatever ended it.
    exec {lifeline}> >(exec setsid "$BASH" "$script" guard "$set_dir" >/dev/null 2>&1)
    trap close_set EXIT
    trap 'exit 143' TERM INT HUP
    trap 'exit 141' PIPE

    exec {control}<>"$set_dir/control"
    # Standard input and the FIFO become one queue of commands. The end of standard input interrupts whatever is
    # going on, even a boot.
    (
        exec {lifeline}>&-
        trap - EXIT TERM INT HUP PIPE
        cd "$set_dir" || exit
        printf '%s\n' "$BASHPID" >run/forwarder
        while IFS= read -r line; do
            printf -- '- %s\n' "$line" >&"$control"
        done
        kill -TERM $$
        # A signal that comes just before the script waits for a command is heard only when one comes.
        printf -- '- status\n' >&"$control"
    ) <&0 >/dev/null 2>&1 &
    pid[forwarder]=$!
    exec </dev/null
}

close_set() {
    local name
    # A second signal must not stop the clearing away half-way.
    trap '' TERM INT HUP PIPE
    for name in "${!pid[@]}"; do
        signal KILL "${pid[$name]}"
    done
    for name in "${!pid[@]}"; do
        wait "${pid[$name]}"
    done
    remove_folder "$set_dir"
} 2>/dev/null

# A process that was just killed may still have made a file behind the back of `rm`.
remove_folder() {
    local round
    for round in 1 2 3 4 5; do
        rm -rf "$1" && return
        pause "0.0$round"
    done
}

# Ends what is left of a set whose script was killed. It is another session, so that a signal to the group or from the
# terminal does not hit it too.
guard() {
    local dir=$1 file one left
    trap '' INT TERM HUP
    while IFS= read -r _; do :; done
    [[ -d $dir ]] || return
    for left in {1..500}; do
        left=0
        for file in "$dir"/run/*; do
            read -r one <"$file" || continue
            # A process id may by now be another's, whose folder is not in here.
            # One with a root of its own says the path from there, which is longer.
            [[ $(readlink "/proc/$one/cwd") == *"$dir"* ]] || continue
            left=1
            signal KILL "$one"
        done
        ((left)) || break
        pause 0.02
    done
    remove_folder "$dir"
}

# Every engine leads a group of its own, so that what it forked (a rewrite of Redis's file, for instance) goes along.
signal() {
    kill "-$1" -- "-$2" 2>/dev/null || kill "-$1" "$2" 2>/dev/null
}

# Waits SECONDS without starting a process for it.
pause() {
    local idle
    exec {idle}<> <(:)
    read -r -t "$1" -u "$idle"
    exec {idle}<&-
}

# spawn NAME FOLDER COMMAND...: starts COMMAND in FOLDER, which lies in the set's folder.
# The child writes its id itself, so that there is no moment in which the guard would not know it.
spawn() {
    local name=$1 folder=$2
    shift 2
    (
        exec {lifeline}>&- {control}>&-
        trap - EXIT TERM INT HUP PIPE
        cd "$folder" || exit
        printf '%s\n' "$BASHPID" >"$set_dir/run/$name"
        exec setsid "$@"
    ) <"${spawn_input:-/dev/null}" >>"$set_dir/log/$name" 2>&1 &
    pid[$name]=$!
}

is_running() {
    [[ -n ${pid[$1]:-} ]] && kill -0 "${pid[$1]}" 2>/dev/null
}

# reap NAME: waits until the process is gone and forgets it.
reap() {
    wait "${pid[$1]}" 2>/dev/null
    unset "pid[$1]" "frozen[$1]"
    rm -f "$set_dir/run/$1"
}

# What an engine said last, on one line.
last_words() {
    local file text=
    for file in "$@"; do
        [[ -s $file ]] && text+=$(tail -n 12 "$file" | tr -c '[:print:]' ' ' | tr -s ' ')
    done
    printf '%s' "${text:-it said nothing}"
}
