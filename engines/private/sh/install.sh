# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# Installing the engines, the proxies of the documents and Prometheus, of Debian or Ubuntu without letting them run as services of the system.

install_missing() {
    local missing=() sudo=() rc
    has redis-server redis-cli || missing+=(redis-server)
    has "$rabbitmq_server" erl epmd || missing+=(rabbitmq-server)
    has mariadbd mariadb mariadb-install-db || missing+=(mariadb-server)
    # What stands before the edges in the documents' examples.
    has nginx || missing+=(nginx-light)
    has haproxy || missing+=(haproxy)
    has caddy || missing+=(caddy)
    # What reads the metrics, checks the alerts' rules and answers the dashboard's questions.
    has prometheus promtool || missing+=(prometheus)
    if ((${#missing[@]} == 0)); then
        echo "ok everything is installed"
        return
    fi
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}; this script installs with apt-get only"
    if ((EUID)); then
        command -v sudo >/dev/null || fail "missing: ${missing[*]}; become root or install sudo"
        sudo=(sudo)
    fi
    echo "installing ${missing[*]}"
    # The packages ask `policy-rc.d` whether they may start their services: 101 says no. An existing one is left as it
    # is; ours goes away again, whatever happens. The second shell does it all, so that sudo is asked once.
    # shellcheck disable=SC2016 # it is the second shell that expands these
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive bash -euc '
        policy=/usr/sbin/policy-rc.d
        if [[ ! -e $policy ]]; then
            trap "rm -f $policy" EXIT
            trap "exit 143" TERM INT HUP
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
            ours=1
        fi
        # Lists older than what the mirror has now name files that are gone.
        apt-get install --yes --no-install-recommends "$@" || {
            apt-get update
            apt-get install --yes --no-install-recommends "$@"
        }
        # Not started now, and not with the next boot of the machine either.
        if [[ -n ${ours:-} && -d /run/systemd/system ]]; then
            for service in redis-server rabbitmq-server mariadb nginx haproxy caddy prometheus; do
                for package in "$@"; do
                    [[ $package == "$service"* ]] && systemctl disable "$service" || true
                done
            done
        fi
    ' install "${missing[@]}"
    rc=$?
    ((rc == 0)) || fail "apt-get ended with $rc"
    echo "ok installed ${missing[*]}"
}

has() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || return
    done
}
