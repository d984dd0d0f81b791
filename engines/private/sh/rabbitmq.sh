# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# RabbitMQ: a node of its own with its own cookie and its own epmd, so that no daemon is left behind and any number of
# nodes can have the same name. On demand three more that are a cluster, broker-1 to broker-3.

# The package's own script. The one in the system's sbin changes user and folder.
rabbitmq_server=/usr/lib/rabbitmq/bin/rabbitmq-server
rabbitmq_asked=0
declare -A rabbitmq_asked_fd=() rabbitmq_answered_fd=()

# Runs inside the broker: obeys lines `ID vhost NAME` (makes it), `ID user NAME PASSWORD HOST CONFIGURE WRITE READ`
# (makes a user who may do that much there), `ID alarm on|off` (as if it were low on memory) and `ID running COUNT` (whether so
# many nodes run in its cluster) from standard input and answers `ID ok` on a FIFO. A virtual
# host made this way takes some 20 ms; the command-line tool needs over a second to start, and the management plugin makes
# every boot slower.
rabbitmq_listener='
spawn(fun() ->
    Out = os:getenv("CHINWAG_ANSWERS"),
    Make = fun(Name) ->
        Host = list_to_binary(Name),
        ok = rabbit_vhost:add(Host, <<"engines">>),
        ok = rabbit_auth_backend_internal:set_permissions(
            <<"guest">>, Host, <<".*">>, <<".*">>, <<".*">>, <<"engines">>)
    end,
    Permit = fun(User, Password, Host, Configure, Write, Read) ->
        ok = rabbit_auth_backend_internal:add_user(User, Password, <<"engines">>),
        ok = rabbit_auth_backend_internal:set_permissions(User, Host, Configure, Write, Read, <<"engines">>)
    end,
    Alarm = {resource_limit, memory, node()},
    Obey = fun
        ("vhost", [Name]) -> Make(Name);
        ("user", Words) -> apply(Permit, [list_to_binary(Word) || Word <- Words]);
        ("alarm", ["on"]) -> rabbit_alarm:set_alarm({Alarm, []});
        ("alarm", ["off"]) -> rabbit_alarm:clear_alarm(Alarm);
        ("running", [Count]) -> Count = integer_to_list(length(rabbit_nodes:all_running()))
    end,
    Loop = fun Loop() ->
        case io:get_line("") of
            Line when is_list(Line) ->
                [Id, Verb | What] = string:lexemes(Line, " \n"),
                Answer = try Obey(Verb, What), "ok" catch _:Why -> io_lib:format("err ~0p", [Why]) end,
                {ok, Pipe} = file:open(Out, [write, raw, device]),
                ok = file:write(Pipe, [Id, " ", Answer, "\n"]),
                file:close(Pipe),
                Loop();
            _ -> ok
        end
    end,
    Loop()
end).'

rabbitmq_launch() {
    local name=$1 folder=$set_dir/$1 node=chinwag cluster='' patience='' server=("$rabbitmq_server") plugins
    plugins=RABBITMQ_PLUGINS_DIR=$folder/plugins
    # It has other libraries, and finds them where they lie.
    if is_newer rabbitmq; then server=("${within[@]}" "$rabbitmq_server") plugins=LC_ALL=C.UTF-8; fi
    if [[ $name == broker-* ]]; then
        node=chinwag-${name#broker-}
        cluster="{cluster_nodes, {['chinwag-1@localhost', 'chinwag-2@localhost', 'chinwag-3@localhost'], disc}},"
        # How soon the others choose another leader: as docs/decisions/a-frozen-node.md says that one should set it.
        patience=', {aten, [{poll_interval, 1000}]}'
    fi
    if [[ ! -d $folder ]]; then
        mkdir -p "$folder"/{home,plugins}
        local management='' statistics='' encrypted=''
        if [[ -n ${with_tls-} && $name == rabbitmq ]]; then
            encrypted="{ssl_listeners, [{\"127.0.0.1\", ${port[rabbitmq-tls]}}]}, {ssl_options, [{verify, verify_none},"
            encrypted+=" {cacertfile, \"$set_dir/tls/ca.pem\"}, {certfile, \"$set_dir/tls/server.pem\"}, {keyfile, \"$set_dir/tls/server.key\"}]},"
        fi
        if [[ -n ${with_management-} ]]; then
            printf '[rabbitmq_management].\n' >"$folder/enabled_plugins"
            # A test does not wait 5 s for each look.
            statistics='{collect_statistics_interval, 500}, {quorum_tick_interval, 500},'
            management=", {rabbitmq_management, [{tcp_config, [{ip, \"127.0.0.1\"}, {port, ${port[management]}}]}]}"
        else
            printf '[].\n' >"$folder/enabled_plugins"
        fi
        printf 'engines' >"$folder/home/.erlang.cookie"
        chmod 400 "$folder/home/.erlang.cookie"
        mkfifo "$folder"/{asked,answered}
        is_newer rabbitmq || rabbitmq_code "$folder"
        # Erlang terms, not `rabbitmq.conf`: without the latter the broker need not run its settings compiler.
        # The memory limit is far up and the disk limit far down: an alarm would block every publisher.
        cat >"$folder/advanced.config" <<CONFIG
[{rabbit, [
    $cluster $statistics $encrypted
    {tcp_listeners, [{"127.0.0.1", ${port[$name]}}]},
    {vm_memory_high_watermark, 0.8},
    {disk_free_limit, 50000000},
    {log, [{console, [{enabled, false}]}, {file, [{level, info}]}]}
]}$patience$management].
CONFIG
        local asked answered
        exec {asked}<>"$folder/asked" {answered}<>"$folder/answered"
        rabbitmq_asked_fd[$name]=$asked rabbitmq_answered_fd[$name]=$answered
    fi
    if ! is_running epmd; then
        mkdir -p "$set_dir/epmd"
        spawn epmd "$set_dir/epmd" epmd -port "${port[epmd]}" -address 127.0.0.1
    fi
    local -i tries=0
    until connect "${port[epmd]}"; do
        if ((++tries > 500)) || ! is_running epmd; then
            problem="epmd: $(last_words "$set_dir/log/epmd")"
            return 1
        fi
        pause 0.01
    done
    disconnect
    # A clean environment: a broker obeys some eighty variables. The file for more of them does not exist.
    spawn_input=$folder/asked spawn "$name" "$folder" env -i \
        PATH="$PATH" LC_ALL=C.UTF-8 HOME="$folder/home" \
        CHINWAG_ANSWERS="$folder/answered" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="${port[epmd]}" \
        RABBITMQ_NODENAME="$node@localhost" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="${port[$name]}" \
        RABBITMQ_DIST_PORT="${port[$name-distribution]}" \
        RABBITMQ_CONF_ENV_FILE="$folder/no-such-file" RABBITMQ_CONFIG_FILE="$folder/no-such-file" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$folder/advanced.config" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$folder/enabled_plugins" "$plugins" \
        RABBITMQ_MNESIA_BASE="$folder/mnesia" RABBITMQ_LOG_BASE="$folder/log" \
        RABBITMQ_ALLOW_INPUT=1 \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 -pa $folder/code" \
        "${server[@]}" -noshell -start_epmd false \
        -kernel inet_dist_use_interface '{127,0,0,1}' -eval "$rabbitmq_listener"
}

# A broker loads some thousand modules while it boots, and looks for each in a hundred folders, one after the other:
# that is a third of the time. With most of them in the first folder it finds them at once. What is not named here is
# still found where it lies.
rabbitmq_code() {
    local plugins erlang library files=()
    plugins=$(dirname "$(readlink -f "$rabbitmq_server")")/../plugins
    erlang=$(dirname "$(readlink -f "$(command -v erl)")")/../lib
    for library in rabbit rabbit_common rabbitmq_prelaunch ra ranch osiris cuttlefish syslog systemd jsx aten seshat \
        sysmon_handler observer_cli recon credentials_obfuscation stdout_formatter amqp10_common gen_batch_server; do
        files+=("$plugins/$library"-[0-9]*/ebin/*.beam)
    done
    for library in mnesia sasl compiler syntax_tools tools os_mon crypto public_key asn1 ssl inets xmerl; do
        files+=("$erlang/$library"-[0-9]*/ebin/*.beam)
    done
    mkdir "$1/code"
    ln -sft "$1/code" "${files[@]}"
    # The pattern of a library that is not there stays a pattern, and its link leads nowhere.
    rm -f "$1/code/*.beam"
    # It also reads the description of every plugin that lies here, enabled or not. It needs one: itself.
    if [[ -n ${with_management-} ]]; then
        ln -s "$plugins"/*-[0-9]* "$1/plugins/"
    else
        ln -s "$plugins"/rabbit-[0-9]* "$1/plugins/"
    fi
}

# Opens a connection to the virtual host `/` as a client does, all in one piece: header, start-ok (guest), tune-ok,
# open. An open-ok (class 10, method 41) means that the broker can be used; the answer to the header alone does not.
rabbitmq_is_ready() {
    local chunk before='' opened=1 LC_ALL=C
    connect "${port[$1]}" || return 1
    {
        printf 'AMQP\x00\x00\x09\x01'
        printf '\x01\x00\x00\x00\x00\x00\x24\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN'
        printf '\x00\x00\x00\x0c\x00guest\x00guest\x05en_US\xce'
        printf '\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x00\xce'
        printf '\x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00\x28\x01/\x00\x00\xce'
    } >&"$connection"
    # Zero bytes separate the chunks.
    while IFS= read -r -d '' -t 5 -u "$connection" chunk; do
        if [[ $before == $'\n' && $chunk == ')' ]]; then
            opened=0
            # close, so that the broker does not log a lost client
            printf '\x01\x00\x00\x00\x00\x00\x0b\x00\x0a\x00\x32\x00\xc8\x00\x00\x00\x00\x00\xce' >&"$connection"
            break
        fi
        before=$chunk
    done
    disconnect
    return "$opened"
} 2>/dev/null

rabbitmq_vhost() {
    [[ $1 =~ ^[A-Za-z0-9_.-]+$ ]] || { problem="a virtual host is named with letters, digits, _ . -"; return 1; }
    rabbitmq_ask rabbitmq vhost "$1"
}

rabbitmq_user() {
    local words
    read -r -a words <<<"$1"
    ((${#words[@]} == 6)) || { problem="a user is NAME PASSWORD HOST CONFIGURE WRITE READ"; return 1; }
    rabbitmq_ask rabbitmq user "$1"
}

rabbitmq_alarm() {
    [[ $1 == on || $1 == off ]] || { problem="an alarm is on or off"; return 1; }
    rabbitmq_ask rabbitmq alarm "$1"
}

# Whether the three brokers have found each other: one that is asked counts all.
rabbitmq_cluster_is_whole() {
    rabbitmq_ask broker-1 running 3
}

# rabbitmq_ask NAME VERB WHAT: asks the listener inside a broker.
rabbitmq_ask() {
    local id word
    is_running "$1" || { problem="$1 is not running"; return 1; }
    id=$((++rabbitmq_asked))
    printf '%s %s %s\n' "$id" "$2" "$3" >&"${rabbitmq_asked_fd[$1]}"
    # Answers to earlier questions may still come, if they came too late for their askers.
    while IFS=' ' read -r -t 20 -u "${rabbitmq_answered_fd[$1]}" word problem; do
        [[ $word == "$id" ]] || continue
        [[ $problem == ok ]]
        return
    done
    problem="$1 did not answer within 20 s"
    return 1
}
