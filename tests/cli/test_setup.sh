#!/usr/bin/env bash
# tools/setup without a network and without touching this checkout's .deps: which mirror is chosen, what is repaired, what
# is said where there is no apt. Exit code 77: skipped.
#
# The names of hosts below are reserved for examples; they are put together at run time because no tracked file of this
# project names a package archive, which the last test checks.

# shellcheck disable=SC2016  # many strings here are for other programs to expand

set -uo pipefail

SOURCE=${WATTLAW_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
failures=0

ok() { printf 'ok - %s\n' "$1"; }
not_ok() {
    printf 'not ok - %s\n' "$1"
    [ "$#" -lt 2 ] || printf '%s\n' "$2" | sed 's/^/    /'
    failures=$((failures + 1))
}

# is NAME EXPECTED FOUND
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2
found:    $3"; fi; }

# like NAME PATTERN TEXT
like() { if grep -q -e "$2" <<<"$3"; then ok "$1"; else not_ok "$1" "no '$2' in: $3"; fi; }

# copy DIR: a checkout of nothing but the script.
copy() {
    mkdir -p "$1"
    cp -r "$SOURCE/tools" "$1/tools"
}

# inside DIR COMMAND: run COMMAND with tools/setup's functions, as its own script would.
inside() {
    (
        # shellcheck source=/dev/null
        . "$1/tools/setup"
        trap - ERR
        set +e
        eval "$2"
    ) 2>&1
}

# ---- the mirror ------------------------------------------------------------------------------------------------------

HOST=archive.example.org

# apt_machine NAME: an apt configuration that has only what the test puts there.
apt_machine() {
    local dir=$WORK/$1
    mkdir -p "$dir/parts" "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/conf.d"
    : >"$dir/status"
    cat >"$dir/apt.conf" <<EOF
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/parts";
EOF
    printf 'VERSION_CODENAME=bookworm\n' >"$dir/os-release"
    printf '%s' "$dir"
}

# mirrors_of DIR
mirrors_of() {
    APT_CONFIG=$1/apt.conf OS_RELEASE=$1/os-release inside "$WORK/plain" 'debian_keyring() { :; }; mirrors'
}

test_one_line_sources() {
    local dir
    dir=$(apt_machine one-line)
    : >"$dir/key.gpg"
    cat >"$dir/sources.list" <<EOF
# a comment
deb-src http://$HOST/debian bookworm main
deb http://security.$HOST/debian-security bookworm-security main
deb [arch=$(dpkg --print-architecture) signed-by=$dir/key.gpg] http://$HOST/debian bookworm main contrib
deb http://$HOST/debian bookworm-updates main
deb http://other.$HOST/tool bookworm stable
EOF
    is "one-line sources: the archive itself, with its key" "http://$HOST/debian/ $dir/key.gpg" "$(mirrors_of "$dir")"
}

test_deb822_sources() {
    local dir
    dir=$(apt_machine deb822)
    : >"$dir/key.gpg"
    cat >"$dir/parts/security.sources" <<EOF
Types: deb
URIs: http://security.$HOST/debian-security
Suites: bookworm-security
Components: main
EOF
    cat >"$dir/parts/debian.sources" <<EOF
# the usual two stanzas
Types: deb deb-src
URIs: http://$HOST/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: $dir/key.gpg

Types: deb
URIs: http://$HOST/debian
Suites: bookworm-backports
Components: main
EOF
    is "deb822 sources: the archive itself, with its key" "http://$HOST/debian/ $dir/key.gpg" "$(mirrors_of "$dir")"
}

test_key_inside_the_file() {
    local dir
    dir=$(apt_machine inline)
    cat >"$dir/parts/debian.sources" <<EOF
Types: deb
URIs: http://$HOST/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
EOF
    is "a key written into the source: apt's own keys serve" "http://$HOST/debian/ -" "$(mirrors_of "$dir")"
}

test_several_candidates() {
    local dir
    dir=$(apt_machine several)
    cat >"$dir/sources.list" <<EOF
deb http://board.$HOST/os bookworm main
deb http://$HOST/debian stable main
EOF
    is "all candidates are listed" "http://$HOST/debian/ -
http://board.$HOST/os/ -" "$(mirrors_of "$dir" | sort)"
}

test_no_debian() {
    local dir
    dir=$(apt_machine none)
    echo "deb http://$HOST/ubuntu noble main" >"$dir/sources.list"
    is "another system's archive is no candidate" "" "$(mirrors_of "$dir")"
    like "and the message says what to do" "names\? no Debian archive" \
        "$(APT_CONFIG=$dir/apt.conf OS_RELEASE=$dir/os-release inside "$WORK/plain" 'find_mirror')"
}

test_suite_is_replaced() {
    local dir
    dir=$(apt_machine suite)
    echo "deb http://$HOST/debian bookworm main" >"$dir/sources.list"
    copy "$WORK/suite-checkout"
    APT_CONFIG=$dir/apt.conf OS_RELEASE=$dir/os-release inside "$WORK/suite-checkout" '
        read_lists() { return 0; }
        debian_keyring() { printf /key.gpg; }
        mkdir -p "$DEPS"; write_apt_conf
        private_apt() { echo Debian; }
        find_mirror' >/dev/null
    is "the private source is the same archive, other suite" \
        "deb [targets=Packages lang=none signed-by=/key.gpg] http://$HOST/debian/ testing main" \
        "$(cat "$WORK/suite-checkout/.deps/apt/sources.list")"
    is "the private apt reads this source and no other" "http://$HOST/debian/dists/testing" \
        "$(LC_ALL=C APT_CONFIG=$dir/apt.conf apt-get -c "$WORK/suite-checkout/.deps/apt/apt.conf" update --print-uris |
            sed -n "s|^'\(.*\)/InRelease'.*|\1|p")"
}

# ---- stamps and damage -----------------------------------------------------------------------------------------------

# finished DIR: a checkout whose set-up looks done.
finished() {
    copy "$1"
    mkdir -p "$1/.deps/sysroot/tools" "$1/.deps/bin"
    echo key >"$1/.deps/sysroot/.complete"
    echo 'set(X 1)' >"$1/.deps/engine.cmake"
    printf '#!/bin/sh\n' | tee "$1/.deps/bin/llama-bench" >"$1/.deps/sysroot/tools/llama-bench"
    chmod +x "$1/.deps/bin/llama-bench" "$1/.deps/sysroot/tools/llama-bench"
    echo private >"$(inside "$1" 'stamp build')"
}

# state DIR: does the script think that it has nothing to do?
state() { inside "$1" 'if is_done "$(stamp build)"; then echo done; else echo again; fi'; }

test_stamps() {
    local dir=$WORK/stamps file
    finished "$dir"
    file=$(inside "$dir" 'stamp build')
    is "a finished set-up is recognised" "done" "$(state "$dir")"
    is "and a second run says nothing" "" "$("$dir/tools/setup" 2>&1)"
    : >"$file"
    is "an empty stamp does not count" again "$(state "$dir")"
    echo rubbish >"$file"
    is "a damaged stamp does not count" again "$(state "$dir")"
    echo private >"$file"
    rm "$dir/.deps/bin/llama-bench"
    is "a missing tool is noticed" again "$(state "$dir")"
    finished "$dir"
    rm "$dir/.deps/sysroot/.complete"
    is "an unfinished tree is noticed" again "$(state "$dir")"
    finished "$dir"
    : >"$dir/.deps/engine.cmake"
    is "an empty build description is noticed" again "$(state "$dir")"
    finished "$dir"
    echo '# changed' >>"$dir/tools/setup.d/sysroot.sh"
    is "a changed script runs again" again "$(state "$dir")"
}

test_old_stamps_go() {
    local dir=$WORK/old
    finished "$dir"
    touch "$dir/.deps/stamp-1-build"
    inside "$dir" 'ENGINE=private; put_stamp "$(stamp build)"; put_stamp "$(stamp "build dev")"'
    is "stamps of other versions are cleared away, this one's stay" 2 "$(find "$dir/.deps" -name 'stamp-*' | wc -l)"
}

test_damaged_download() {
    local dir=$WORK/damage
    copy "$dir"
    mkdir -p "$dir/.deps/apt/archives"
    (
        cd "$dir/.deps/apt/archives" || exit
        echo good >good.deb
        echo good >bad.deb
        sha256sum good.deb bad.deb >../wanted
        echo evil >bad.deb
    )
    inside "$dir" drop_damaged >/dev/null
    is "a damaged package of the right size is fetched again, a good one kept" good.deb "$(ls "$dir/.deps/apt/archives")"
}

test_second_run_is_quick() {
    local dir=$WORK/quick start end
    finished "$dir"
    start=$(date +%s%N)
    "$dir/tools/setup"
    end=$(date +%s%N)
    if [ $(((end - start) / 1000000)) -lt 200 ]; then
        ok "a second run takes less than 200 ms"
    else
        not_ok "a second run takes less than 200 ms" "$(((end - start) / 1000000)) ms"
    fi
}

# ---- the client for a test -------------------------------------------------------------------------------------------

# npm_that CODE: a folder with an npm that does as if it had fetched, and ends so; its calls are counted in its log.
npm_that() {
    local bin=$WORK/npm-$1
    mkdir -p "$bin"
    printf '#!/bin/sh\necho "$*" >>"%s/log"\nmkdir -p node_modules/openai\nexit %s\n' "$bin" "$1" >"$bin/npm"
    chmod +x "$bin/npm"
    printf '%s' "$bin"
}

test_client() {
    local dir=$WORK/client good bad said
    copy "$dir"
    mkdir -p "$dir/tests" "$dir/.deps"
    cp -r "$SOURCE/tests/client" "$dir/tests/client"
    good=$(npm_that 0)
    bad=$(npm_that 1)
    said=$(PATH=$bad:$PATH inside "$dir" fetch_client; echo "code $?")
    like "without a network the client is only missed" "its test .* will skip" "$said"
    like "which is no failure" "^code 0" "$said"
    [ ! -e "$dir/.deps/node" ] || not_ok "nothing half-made is left"
    is "npm fetches it without a word" "" "$(PATH=$good:$PATH inside "$dir" fetch_client)"
    is "into the private folder" openai "$(ls "$dir/.deps/node/node_modules")"
    PATH=$good:$PATH inside "$dir" fetch_client
    is "once" 1 "$(wc -l <"$good/log")"
    like "and runs nothing of it" "--ignore-scripts" "$(cat "$good/log")"
    echo '{}' >"$dir/tests/client/package-lock.json"
    PATH=$good:$PATH inside "$dir" fetch_client
    is "another version is fetched anew" 2 "$(wc -l <"$good/log")"
}

# ---- other systems ---------------------------------------------------------------------------------------------------

# A PATH with the usual tools, but without apt, dpkg, pkg-config and compilers.
bare_path() {
    local tool
    mkdir -p "$WORK/bare"
    for tool in bash cat cksum dirname awk sed grep sort head mkdir env id uname cut sha256sum rm mv cmp find basename flock; do
        ln -sf "$(command -v "$tool")" "$WORK/bare/$tool"
    done
    printf '%s' "$WORK/bare"
}

test_no_apt() {
    local dir=$WORK/no-apt said path
    copy "$dir"
    path=$(bare_path)
    said=$(PATH=$path "$dir/tools/setup" 2>&1)
    is "without apt and libraries it ends with 1" 1 "$?"
    like "it names what is missing" "not found: .*jansson.*llama" "$said"
    like "it says what to do with Homebrew" "brew install .*llama.cpp" "$said"
    like "with Nix" "nix-shell -p .*llama-cpp" "$said"
    like "with conda" "conda install .*llama.cpp" "$said"
    [ -e "$dir/.deps/engine.cmake" ] && not_ok "nothing half-made is left"
    said=$(PATH=$path "$dir/tools/setup" --check 2>&1)
    is "--check ends with 1 as well" 1 "$?"
}

test_no_apt_but_complete() {
    local dir=$WORK/complete path said
    copy "$dir"
    path=$(bare_path)-complete
    rm -rf "$path"
    cp -a "$WORK/bare" "$path"
    for tool in cc make cmake ninja jq curl llama-bench; do printf '#!/bin/sh\n' >"$path/$tool"; done
    # shellcheck disable=SC2016  # for the script that is written
    printf '#!/bin/sh\ncase "$*" in *--modversion*) echo 0.7.1 ;; esac\nexit 0\n' >"$path/pkg-config"
    chmod +x "$path"/cc "$path"/make "$path"/cmake "$path"/ninja "$path"/jq "$path"/curl "$path"/llama-bench "$path"/pkg-config
    said=$(PATH=$path "$dir/tools/setup" --check 2>&1)
    is "without apt, but with everything there, nothing is missing" "setup: nothing is missing" "$said"
}

test_versions() {
    local version wrong=
    for version in 0.7 0.7.0 0.10.2 1.0 0.0.11669 0.0.12000; do
        [ "$(inside "$WORK/plain" "llama_new_enough $version && echo yes")" = yes ] || wrong+=" $version"
    done
    for version in 0.6.9 0.0.10256 0.0.x 0.0.1; do
        [ "$(inside "$WORK/plain" "llama_new_enough $version && echo yes")" = yes ] && wrong+=" $version"
    done
    is "0.7, later ones, and builds numbered like them are new enough" "" "$wrong"
}

# ---- the RPC server --------------------------------------------------------------------------------------------------

test_rpc() {
    local dir=$WORK/rpc lib=$WORK/rpc/.deps/sysroot/usr/lib/x
    finished "$dir"
    is "the RPC server is not there by itself" no "$(inside "$dir" 'rpc_is_there && echo yes || echo no')"
    like "which --check says" "missing: llama.cpp's RPC server" "$("$dir/tools/setup" --check --rpc 2>&1)"
    mkdir -p "$lib/pkgconfig"
    touch "$lib/libllama.so"
    echo 'Version: 0.27.0' >"$lib/pkgconfig/ggml.pc"
    like "one of another version is not taken" "ggml 0.28.1 now, and .deps has 0.27.0" \
        "$(inside "$dir" 'private_cache() { echo "Version: 0.28.1-2"; }; check_rpc_version')"
    is "one of the same is" "" "$(inside "$dir" 'private_cache() { echo "Version: 0.27.0-3"; }; check_rpc_version')"
    touch "$dir/.deps/sysroot/tools/libggml-rpc.so"
    cp "$dir/.deps/bin/llama-bench" "$dir/.deps/bin/ggml-rpc-server"
    is "and when it is there, nothing is done" "" "$("$dir/tools/setup" --rpc 2>&1)"
}

# ---- nothing written down --------------------------------------------------------------------------------------------

test_no_host_names() {
    local found pattern
    git -C "$SOURCE" rev-parse --git-dir >/dev/null 2>&1 || return 0
    is "the client's lock file has hashes and no addresses" "1 0" \
        "$(grep -c '"integrity"' "$SOURCE/tests/client/package-lock.json") $(grep -c '"resolved"' "$SOURCE/tests/client/package-lock.json")"
    pattern='://(deb|ftp|archive|snapshot|security|http)\.(debian|ubuntu|raspberrypi|raspbian)\.'
    found=$(git -C "$SOURCE" grep -nIE "$pattern" -- . || true)
    is "no tracked file names a package archive" "" "$found"
}

# ---- run -------------------------------------------------------------------------------------------------------------

copy "$WORK/plain"
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    test_one_line_sources
    test_deb822_sources
    test_key_inside_the_file
    test_several_candidates
    test_no_debian
    test_suite_is_replaced
else
    echo "skipped: the tests of mirrors (no apt here)"
fi
test_stamps
test_old_stamps_go
test_damaged_download
test_second_run_is_quick
test_client
test_no_apt
test_no_apt_but_complete
test_versions
test_rpc
test_no_host_names
[ "$failures" -eq 0 ] || printf '%s failed\n' "$failures"
exit "$((failures > 0))"
