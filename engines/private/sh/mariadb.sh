# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# MariaDB, or MySQL in its place where the newer one is asked for: its own data folder, reached over TCP by the user
# `chinwag` (password `chinwag`) who may do everything.

mariadb_launch() {
    local folder=$set_dir/mariadb
    if [[ ! -d $folder/data ]]; then
        mkdir -p "$folder/tmp"
        printf '%s\n' "CREATE USER IF NOT EXISTS chinwag@'%' IDENTIFIED BY 'chinwag';" \
            "GRANT ALL ON *.* TO chinwag@'%' WITH GRANT OPTION;" >"$folder/users.sql"
        mariadb_new_data "$folder/data" || return 1
    fi
    # MySQL is run in a root of its own, where there is but one user.
    local server=(mariadbd --no-defaults --user="$(id -un)" --innodb-log-file-size=32M)
    if is_newer mysql; then
        server=("${within[@]}" mysqld --no-defaults --user=root --mysqlx=0 --innodb-redo-log-capacity=32M --log-bin="$folder/log")
    fi
    [[ -z ${with_tls-} ]] || server+=(--ssl-ca="$set_dir/tls/ca.pem" --ssl-cert="$set_dir/tls/server.pem" --ssl-key="$set_dir/tls/server.key")
    # Durability is their default: a commit is on the disk when it is answered. The rest is kept small.
    spawn mariadb "$folder" "${server[@]}" \
        --datadir="$folder/data" --tmpdir="$folder/tmp" --socket="$folder/socket" --pid-file="$folder/pid" \
        --bind-address=127.0.0.1 --port="${port[mariadb]}" --skip-name-resolve \
        --init-file="$folder/users.sql" --max-connections=1000 --max-connect-errors=1000000 \
        --character-set-server=utf8mb4 --default-time-zone=+00:00 \
        --innodb-buffer-pool-size=64M \
        --innodb-buffer-pool-dump-at-shutdown=0 --innodb-buffer-pool-load-at-startup=0
}

# Installing takes seconds, so each user of the machine keeps one fresh data folder, of which every set gets a copy.
mariadb_new_data() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/chinwag version template lock
    if is_newer mysql; then
        template=$cache/$(grep '^mysql' "$newer_root/versions")-template
    else
        version=$(mariadbd --no-defaults --version | tr -cs '[:alnum:].\n' - )
        version=${version#*Ver-}
        template=$cache/mariadb-template-${version%%-for-*}
    fi
    if ! mkdir -p "$cache" 2>/dev/null || [[ ! -w $cache ]]; then
        mariadb_install "$1"
        return
    fi
    if [[ ! -d $template ]]; then
        # One makes it, the others wait. It appears whole or not at all, because it is renamed into its place.
        exec {lock}>"$cache/mariadb-template.lock"
        flock "$lock"
        if [[ ! -d $template ]]; then
            rm -rf "$template.new"
            # In the set's folder, which a server with another root sees as well.
            mariadb_install "$set_dir/template" || { exec {lock}>&-; return 1; }
            mv -T "$set_dir/template" "$template.new" && mv -T "$template.new" "$template"
        fi
        exec {lock}>&-
    fi
    cp -a --sparse=always --reflink=auto "$template" "$1" || { problem="cannot copy $template"; return 1; }
    # The name by which MySQL's servers know each other: it makes one where there is none.
    rm -f "$1/auto.cnf"
}

mariadb_install() {
    mkdir -p "$1"
    if is_newer mysql; then
        (cd "$1" && "${within[@]}" mysqld --no-defaults --user=root --datadir="$1" --initialize-insecure --innodb-redo-log-capacity=32M) \
            >"$set_dir/log/mariadb-install" 2>&1 {lifeline}>&- {control}>&- && return
        problem="mysqld --initialize: $(last_words "$set_dir/log/mariadb-install")"
        rm -rf "$1"
        return 1
    fi
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$1" --skip-test-db \
        --auth-root-authentication-method=normal --innodb-log-file-size=32M \
        >"$set_dir/log/mariadb-install" 2>&1 {lifeline}>&- {control}>&- && return
    problem="mariadb-install-db: $(last_words "$set_dir/log/mariadb-install")"
    rm -rf "$1"
    return 1
}

mariadb_query() {
    mariadb_client mariadb --connect-timeout=5 --batch --skip-column-names --execute="$1" 2>&1
}

# mariadb_client PROGRAM ARGUMENT...: one of the client's programs, as the user who may do everything.
mariadb_client() {
    local tls=--skip-ssl program=$1
    shift
    # MySQL takes a password over TLS only.
    ! is_newer mysql || tls=--ssl
    timeout "${client_limit_s:-20}" "$program" --no-defaults "$tls" --protocol=tcp --host=127.0.0.1 --port="${port[mariadb]}" \
        --user=chinwag --password=chinwag "$@"
}

# mariadb_dump 'DATABASE FILE OPTION...': with these options of the client's.
mariadb_dump() {
    local words
    read -r -a words <<<"$1"
    problem=$(client_limit_s=300 mariadb_client mariadb-dump "${words[@]:2}" "${words[0]}" 2>&1 >"${words[1]}") && return
    problem=${problem//$'\n'/ }
    return 1
}

# mariadb_undump 'DATABASE FILE': throws the database away and makes it of what was dumped.
mariadb_undump() {
    local name file
    read -r name file <<<"$1"
    mariadb_query "DROP DATABASE IF EXISTS $name" >/dev/null
    mariadb_database "$name" || return
    problem=$(client_limit_s=300 mariadb_client mariadb "$name" 2>&1 <"$file") && return
    problem=${problem//$'\n'/ }
    return 1
}

mariadb_is_ready() {
    # The refused connection is the cheap question, most of the time.
    connect "${port[mariadb]}" || return 1
    disconnect
    [[ $(mariadb_query 'SELECT 1') == 1 ]]
}

mariadb_database() {
    [[ $1 =~ ^[A-Za-z0-9_]+$ ]] || { problem="a database is named with letters, digits, _"; return 1; }
    is_running mariadb || { problem="mariadb is not running"; return 1; }
    problem=$(mariadb_query "CREATE DATABASE IF NOT EXISTS $1") && return
    problem=${problem//$'\n'/ }
    return 1
}
