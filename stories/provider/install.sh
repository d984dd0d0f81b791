#!/usr/bin/env bash
# Afterwards `node` in this folder is new enough, and the packages of package-lock.json are in node_modules beside it: what the stories
# need for a real provider of single sign-on. Installs what is missing with apt-get and npm; what is there and will do is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# `oidc-provider` asks for it.
node_at_least=20
# For where the distribution's own is older: the program as it lies in the npm registry.
node_from_npm=22.23.3

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if ((${#missing[@]})); then
    command -v apt-get >/dev/null || { echo "missing: ${missing[*]}; this script installs with apt-get only" >&2; exit 1; }
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    echo "installing ${missing[*]}"
    install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates "${missing[@]}")
    # Lists older than what the mirror has now name files that are gone.
    "${install[@]}" || { "${sudo[@]}" apt-get update && "${install[@]}"; }
fi

node=$(command -v node)
if (($(node -p 'process.versions.node.split(".")[0]') < node_at_least)); then
    machine=x64
    [[ $(uname -m) == aarch64 ]] && machine=arm64
    own=$PWD/out/node_modules/node-linux-$machine/bin/node
    if [[ $("$own" --version 2>/dev/null) != "v$node_from_npm" ]]; then
        echo "installing node $node_from_npm"
        mkdir -p out
        npm install --prefix out --no-save --no-package-lock --no-audit --no-fund "node-linux-$machine@$node_from_npm"
    fi
    node=$own
fi
ln -sfn "$node" node

# From this very lock? Then they need not be fetched again.
if ! cmp -s package-lock.json node_modules/.made-from; then
    npm ci --ignore-scripts --no-audit --no-fund
    cp package-lock.json node_modules/.made-from
fi
