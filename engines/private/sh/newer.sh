# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# Engines that are newer than what the system's packages have: Valkey or Redis 8, RabbitMQ 4 and MySQL 9, out of Debian's
# next release. They are unpacked into a folder of the user's cache, not installed: apt works on a state of its own, no
# maintainer script runs, and what the machine itself has is neither read nor changed. A server runs inside that folder as
# its root, in a mount namespace of its own, where it finds the set's folder under its usual path.
#
# CHINWAG_NEWER_ENGINES says which are newer, with commas: valkey or redis, rabbitmq, mysql. It counts for every set that
# the process makes, so that one and the same test can run on either.

newer_root=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/chinwag/newer-engines

is_newer() {
    [[ ,${CHINWAG_NEWER_ENGINES:-}, == *,$1,* ]]
}

check_newer() {
    local one list
    IFS=, read -r -a list <<<"${CHINWAG_NEWER_ENGINES:-}"
    for one in "${list[@]}"; do
        case $one in
            valkey | redis | rabbitmq | mysql) ;;
            *) fail "CHINWAG_NEWER_ENGINES has valkey or redis, rabbitmq and mysql, not $one" ;;
        esac
    done
    ((${#list[@]} == 0)) || [[ -s $newer_root/versions ]] || fail "no newer engines in $newer_root: run engines.sh install newer"
}

# The words before a command that is to run with the newer engines' folder as its root, in the folder where it is called.
# The process keeps its id all the way, because that is what is killed and frozen later.
within=()
prepare_newer() {
    within=(unshare --mount)
    ((EUID == 0)) || within+=(--map-root-user)
    # shellcheck disable=SC2016 # it is the inner shells that expand these
    within+=(sh -c '
        root=$1 there=$2 here=$PWD
        shift 2
        mkdir -p "$root$there"
        for one in /proc /dev "$there"; do mount --rbind "$one" "$root$one" || exit; done
        exec chroot "$root" sh -c "cd \"\$1\" && shift && exec \"\$@\"" within "$here" "$@"
    ' within "$newer_root" "$(dirname "$set_dir")")
}

# Fetches and unpacks. It appears whole or not at all, because it is renamed into its place.
install_newer() {
    local mirror lock state=$newer_root.apt fresh=$newer_root.new package
    if [[ -s $newer_root/versions ]]; then
        echo "ok newer engines are there: $(tr '\n' ' ' <"$newer_root/versions")"
        return
    fi
    has apt-get dpkg-deb unshare || fail "newer engines come from Debian's packages: apt-get, dpkg-deb and unshare are needed"
    mkdir -p "$(dirname "$newer_root")" || fail "cannot make $(dirname "$newer_root")"
    exec {lock}>"$newer_root.lock"
    flock "$lock"
    if [[ ! -s $newer_root/versions ]]; then
        # The mirror that this machine is set up with, if it is one of Debian's.
        mirror=${DEBIAN_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
            grep -oE 'https?://[^ ]+/debian/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]')}
        mirror=${mirror:-http://deb.debian.org/debian}
        rm -rf "$state" "$fresh"
        mkdir -p "$state"/{etc/preferences.d,state/lists/partial,cache/archives/partial} "$fresh"
        : >"$state/state/status"
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$mirror" >"$state/etc/sources.list"
        # A mirror that stands still has a list that says it is too old.
        cat >"$state/apt.conf" <<CONFIG
Dir::Etc "$state/etc";
Dir::Etc::sourcelist "$state/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "$state/state";
Dir::State::status "$state/state/status";
Dir::Cache "$state/cache";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
CONFIG
        APT_CONFIG=$state/apt.conf apt-get -q update || fail "apt-get update ended with $?"
        # Besides the servers what shell scripts need, with which RabbitMQ starts.
        APT_CONFIG=$state/apt.conf apt-get -qy install --download-only valkey-server redis-server rabbitmq-server \
            mysql-server-core dash bash coreutils sed grep base-files mawk libc-bin util-linux debianutils ||
            fail "apt-get ended with $?"
        newer_unpack "$state/cache/archives" "$fresh"
        rm -rf "$newer_root" "$state"
        mv -T "$fresh" "$newer_root"
    fi
    exec {lock}>&-
    echo "ok newer engines: $(tr '\n' ' ' <"$newer_root/versions")"
}

newer_unpack() {
    local archives=$1 root=$2 package folder
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for folder in bin sbin lib lib64; do
        ln -s "usr/$folder" "$root/$folder"
    done
    for package in "$archives"/*.deb; do
        case ${package##*/} in systemd_* | libsystemd-shared* | perl_* | perl-modules* | libperl5* | libc-gconv*) continue ;; esac
        dpkg-deb --extract "$package" "$root" || fail "cannot unpack ${package##*/}"
    done
    # The few files that the maintainer scripts would have made.
    mkdir -p "$root"/{etc,tmp,proc,dev,var/lib/mysql-files}
    chmod 700 "$root/var/lib/mysql-files"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost %s\n' "$(uname -n)" >"$root/etc/hosts"
    printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    ln -sfn dash "$root/usr/bin/sh"
    [[ -e $root/usr/bin/awk ]] || ln -s mawk "$root/usr/bin/awk"
    for package in valkey-server redis-server rabbitmq-server mysql-server-core; do
        for folder in "$archives/$package"_*.deb; do
            folder=${folder##*/}
            printf '%s\n' "${folder%_*.deb}"
        done
    done >"$root/versions"
}
