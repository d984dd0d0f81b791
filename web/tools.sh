# shellcheck shell=bash
# To be sourced: afterwards `node` is new enough, the packages of package-lock.json are in web/node_modules, CHROMIUM
# names a browser, and Firefox and WebKit with what drives them are there. Installs what is missing with apt-get and npm; what is there and will do is left as it is.

# Playwright asks for it.
node_at_least=20
# For where the distribution's own is older: the program as it lies in the npm registry.
node_from_npm=22.23.3

web_folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

web_tools() {
    local missing=() sudo=() install
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if [[ -z ${CHROMIUM-} ]]; then
        CHROMIUM=$(command -v chromium || true)
        [[ -n $CHROMIUM ]] || missing+=(chromium)
    fi
    command -v "${FIREFOX-firefox-esr}" >/dev/null || missing+=(firefox-esr)
    command -v WebKitWebDriver >/dev/null || missing+=(webkit2gtk-driver)
    command -v Xvfb >/dev/null || missing+=(xvfb)
    # Without any font a browser has no letters.
    [[ -n $(find /usr/share/fonts -name '*.[to]tf' -print -quit 2>/dev/null) ]] || missing+=(fonts-dejavu-core)
    if ((${#missing[@]})); then
        command -v apt-get >/dev/null || { echo "missing: ${missing[*]}; this script installs with apt-get only" >&2; return 1; }
        if ((EUID)); then
            command -v sudo >/dev/null || { echo "missing: ${missing[*]}; become root or install sudo" >&2; return 1; }
            sudo=(sudo)
        fi
        echo "installing ${missing[*]}"
        install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates "${missing[@]}")
        # Lists older than what the mirror has now name files that are gone.
        "${install[@]}" || { "${sudo[@]}" apt-get update && "${install[@]}"; } || return
        CHROMIUM=${CHROMIUM:-$(command -v chromium)}
    fi
    export CHROMIUM

    local machine=x64 own=$web_folder/out/node
    [[ $(uname -m) == aarch64 ]] && machine=arm64
    if (($(node -p 'process.versions.node.split(".")[0]') < node_at_least)); then
        if [[ $("$own/node_modules/node-linux-$machine/bin/node" --version 2>/dev/null) != "v$node_from_npm" ]]; then
            echo "installing node $node_from_npm"
            mkdir -p "$own"
            npm install --prefix "$own" --no-save --no-package-lock --no-audit --no-fund "node-linux-$machine@$node_from_npm" || return
        fi
        PATH=$own/node_modules/node-linux-$machine/bin:$PATH
    fi

    # From this very lock? Then they need not be fetched again.
    local made=$web_folder/node_modules/.made-from
    if ! cmp -s "$web_folder/package-lock.json" "$made"; then
        npm ci --prefix "$web_folder" --ignore-scripts --no-audit --no-fund || return
        cp "$web_folder/package-lock.json" "$made"
    fi
}

web_tools
