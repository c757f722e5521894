# shellcheck shell=bash
# Sourced by tools/setup: find Debian's testing suite through the machine's own apt configuration, and fetch llama.cpp
# and all it needs from there with an apt that has a state of its own. Leaves the packages in $DEPS/apt/archives and their
# names, with the checksums of the signed lists, in $DEPS/apt/wanted.

SUITE=testing

# ---- where this machine finds Debian ---------------------------------------------------------------------------------

os_codename() {
    # shellcheck disable=SC1090,SC1091  # the file of the system it runs on
    (. "${OS_RELEASE:-/etc/os-release}" 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}")
}

# awk, for the two readers below: is this word of a source the archive that we ask about?
AWK_SAME_URI='function same_uri(word) { sub("/+$", "", word); return word == uri }'

# keys_in_list URI FILE...: one-line sources, deb [signed-by=KEY] URI SUITE ...
keys_in_list() {
    awk -v uri="$1" "$AWK_SAME_URI"' $1 == "deb" {
        for (i = 2; i <= NF; i++)
            if (same_uri($i) && match($0, /signed-by=[^] ]*/)) print substr($0, RSTART + 10, RLENGTH - 10)
    }' "${@:2}"
}

# keys_in_sources URI FILE...: stanzas with URIs: and Signed-By:, which may also hold the key itself (no name then)
keys_in_sources() {
    awk -v uri="$1" "$AWK_SAME_URI"' BEGIN { RS = ""; FS = "\n" } {
        key = ""; hit = 0
        for (i = 1; i <= NF; i++) {
            n = split($i, word, /[ \t]+/)
            if (tolower(word[1]) == "uris:") for (j = 2; j <= n; j++) if (same_uri(word[j])) hit = 1
            if (tolower(word[1]) == "signed-by:") key = word[2]
        }
        if (hit && key != "") print key
    }' "${@:2}"
}

# signed_by URI: the keyring that the machine's sources name for this archive, else Debian's own, else - (apt's).
signed_by() {
    local uri=${1%/} list='' parts='' files key
    eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
    mapfile -t files < <(find "$list" "$parts" -maxdepth 1 -name '*.list' 2>/dev/null || true)
    key=$([ "${#files[@]}" -eq 0 ] || keys_in_list "$uri" "${files[@]}")
    mapfile -t files < <(find "$parts" -maxdepth 1 -name '*.sources' 2>/dev/null || true)
    [ -n "$key" ] || key=$([ "${#files[@]}" -eq 0 ] || keys_in_sources "$uri" "${files[@]}")
    key=${key%%$'\n'*}
    if [ "${key#/}" = "$key" ] || [ ! -r "$key" ]; then key=$(debian_keyring); fi
    printf '%s' "${key:--}"
}

# mirrors: "URI KEYRING" of each archive that may be Debian's. What apt would read tells more than the files do: it knows
# both formats, and works without lists and without root. Updates, security and most of other people's archives have
# other suites or components; the rest is told apart when its testing suite is asked for.
mirrors() {
    local codename uri suite
    codename=$(os_codename)
    apt-get update --print-uris 2>/dev/null |
        sed -n "s|^'\(.*/\)dists/\([^/]*\)/main/binary-[^/]*/Packages.*|\1 \2|p" |
        while read -r uri suite; do
            case $suite in
                "$codename" | oldoldstable | oldstable | stable | testing | unstable | sid)
                    printf '%s %s\n' "$uri" "$(signed_by "$uri")"
                    ;;
            esac
        done | awk '!seen[$0]++'
}

debian_keyring() {
    local key
    for key in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        if [ -r "$key" ]; then
            printf '%s' "$key"
            return
        fi
    done
}

# ---- an apt of our own -----------------------------------------------------------------------------------------------

# The machine's configuration stays in force (proxies, credentials, certificates); only state, sources, pins and hooks
# are our own. Hooks are cleared because they belong to the system's lists and archives, not to ours.
write_apt_conf() {
    local apt=$DEPS/apt
    rm -rf "$apt/empty.d"
    mkdir -p "$apt/state/lists/partial" "$apt/cache" "$apt/archives/partial" "$apt/empty.d" "$apt/none/partial"
    write_pretended >"$apt/status"
    cat >"$apt/apt.conf" <<EOF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architectures { "$(dpkg --print-architecture)"; };
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::State::extended_states "$apt/state/extended_states";
Dir::Cache "$apt/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/empty.d";
Dir::Etc::preferences "$apt/empty.d/none";
Dir::Etc::preferencesparts "$apt/empty.d";
EOF
}

# To apt's eyes nothing is installed, so it fetches the whole closure, down to the C library. These two are asked for by
# the packaging of the tools, not by the programs: pretending to have them keeps a dozen packages away.
write_pretended() {
    local name
    for name in debconf wget; do
        printf 'Package: %s\nStatus: install ok installed\nArchitecture: all\nMulti-Arch: foreign\n' "$name"
        printf 'Maintainer: wattlaw\nVersion: 9999\nDescription: pretended by tools/setup\n\n'
    done
}

# complaints LOG: what apt had to say against it.
complaints() { grep -E '^(E:|W:|Err:)' "$1" | tail -n 10 >&2 || true; }

private_apt() { LC_ALL=C apt-get -c "$DEPS/apt/apt.conf" "$@"; }
private_cache() { LC_ALL=C apt-cache -c "$DEPS/apt/apt.conf" "$@"; }

read_lists() { private_apt -q "$@" update >"$DEPS/apt/update.log" 2>&1; }

# Stable's lists never expire, testing's do after a week: a mirror that lags or a clock that is ahead shows only here. The
# signature still says that the packages are Debian's, and old ones serve; what is too old is refused after unpacking.
lists_expired() {
    grep -q '^E: Release file .* is expired' "$DEPS/apt/update.log" || return 1
    warn "the mirror's list of Debian $SUITE is past its date (an old mirror, or this clock is ahead: $(date +%F)); using it"
}

# use_mirror URI KEYRING: point the private apt at the testing suite there; fails if it is not Debian's.
# shellcheck disable=SC2016  # the dollars are for apt
use_mirror() {
    local options="targets=Packages lang=none"
    [ "$2" = - ] || options+=" signed-by=$2"
    printf 'deb [%s] %s %s main\n' "$options" "$1" "$SUITE" >"$DEPS/apt/sources.list"
    read_lists || { lists_expired && read_lists -o Acquire::Check-Valid-Until=false; } || return 1
    [ "$(private_apt indextargets --format '$(ORIGIN)' 'Created-By: Packages' | head -n 1)" = Debian ]
}

find_mirror() {
    local uri key tried=0
    while read -r uri key <&3; do
        tried=1
        use_mirror "$uri" "$key" && return 0
    done 3< <(mirrors)
    if [ "$tried" -eq 0 ]; then
        die "this machine's package sources name no Debian archive, so llama.cpp cannot come from there" \
            "install llama.cpp $MIN_LLAMA or newer so that 'pkg-config --modversion llama' finds it, then run tools/setup again"
    fi
    complaints "$DEPS/apt/update.log"
    die "could not read the package list of Debian $SUITE" \
        "is the network up? 'apt-get update' uses the same mirror and proxy" \
        "what was done so far is kept: run tools/setup again"
}

# ---- fetching --------------------------------------------------------------------------------------------------------

engine_packages() {
    table engine 2
    table algebra 2
}

# wanted: "SHA256 FILE" of every package of the closure, as apt's signed lists have it. An empty archive folder is named
# because apt leaves out what it already has, and a file that we have is what must be checked.
wanted() {
    local packages
    mapfile -t packages < <(engine_packages)
    private_apt -o Dir::Cache::archives="$DEPS/apt/none" -o Acquire::ForceHash=SHA256 --print-uris \
        install "${packages[@]}" 2>/dev/null |
        sed -n "s/^'[^']*' \([^ ]*\) [0-9]* SHA256:\([0-9a-f]*\)$/\2  \1/p"
}

# Apt trusts a file of the right size that lies in its archive folder; a damaged one is found here and fetched again.
drop_damaged() {
    local sum file
    while read -r sum file; do
        file=$DEPS/apt/archives/$file
        [ -e "$file" ] || continue
        if ! printf '%s  %s\n' "$sum" "$file" | sha256sum --check --status 2>/dev/null; then
            say "fetching ${file##*/} again: it was damaged"
            rm -f "$file"
        fi
    done <"$DEPS/apt/wanted"
}

list_packages() {
    local version
    version=$(private_cache show --no-all-versions libllama-dev 2>/dev/null | sed -n 's/^Version: //p') || true
    [ -n "$version" ] || die "Debian $SUITE has no libllama-dev for $(dpkg --print-architecture)" \
        "install llama.cpp $MIN_LLAMA or newer so that 'pkg-config --modversion llama' finds it, then run tools/setup again"
    wanted >"$DEPS/apt/wanted" || true
    [ -s "$DEPS/apt/wanted" ] || die "apt gave no list of packages for llama.cpp" \
        "see what it says: apt-get -c .deps/apt/apt.conf --print-uris install libllama-dev"
    say "fetching llama.cpp $version from Debian $SUITE ($(wc -l <"$DEPS/apt/wanted") packages)"
}

# download: whole and as signed, or failure.
download() {
    local packages
    mapfile -t packages < <(engine_packages)
    drop_damaged
    private_apt -q --download-only install "${packages[@]}" >"$DEPS/apt/fetch.log" 2>&1 &&
        (cd "$DEPS/apt/archives" && sha256sum --check --quiet --strict "$DEPS/apt/wanted") >>"$DEPS/apt/fetch.log" 2>&1
}

# The testing suite moves several times a day: a list read just before may name files that are gone, so it is read twice.
fetch_packages() {
    find_mirror
    list_packages
    download && return 0
    say "not everything came; reading the list again"
    find_mirror
    list_packages
    download && return 0
    complaints "$DEPS/apt/fetch.log"
    die "could not fetch llama.cpp" "is the network up? what arrived is kept: run tools/setup again"
}
