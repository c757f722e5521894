# shellcheck shell=bash
# Sourced by tools/setup: what a model on several machines needs (--rpc): ggml's RPC back end, beside the tools that load
# it, and its server. The engine never sees the back end: what is measured is the same with and without it.

rpc_is_there() {
    [ -x "$DEPS/bin/ggml-rpc-server" ] || return 1
    have_system_llama || [ -e "$DEPS/sysroot/tools/libggml-rpc.so" ]
}

# The server lies where Debian keeps programs that are not for everybody.
link_system_rpc() {
    local found
    ! have apt-get || install_packages rpc
    found=$(command -v ggml-rpc-server || command -v rpc-server || first_of /usr/libexec/*/llama/bin/ggml-rpc-server)
    [ -n "$found" ] || die "llama.cpp's RPC server was not found (ggml-rpc-server)" \
        "llama.cpp must be built with GGML_RPC=ON, on all machines in the same version"
    ln -sf "$found" "$DEPS/bin/ggml-rpc-server"
}

# Back end, server and the libraries in .deps speak one version of the protocol: they come from one version of ggml.
check_rpc_version() {
    local ours theirs
    ours=$(sed -n 's/^Version: //p' "$DEPS/sysroot/$(libdir "$DEPS/sysroot")/pkgconfig/ggml.pc")
    theirs=$(private_cache show --no-all-versions libggml0-backend-rpc 2>/dev/null | sed -n 's/^Version: \([^-]*\).*/\1/p') || true
    [ -n "$theirs" ] || die "Debian $SUITE has no libggml0-backend-rpc for $(dpkg --print-architecture)"
    [ "$ours" = "$theirs" ] || die "Debian $SUITE has ggml $theirs now, and .deps has $ours" \
        "fetch both anew: tools/setup --force --rpc"
}

# unpack_rpc FOLDER: what the packages in FOLDER hold goes to where the other tools are.
unpack_rpc() {
    local root=$DEPS/sysroot package server
    for package in "$1"/*.deb; do dpkg-deb -x "$package" "$1/root"; done
    patchelf --set-rpath "\$ORIGIN/../..:\$ORIGIN/.." "$1"/root/usr/lib/*/ggml/backends*/libggml-rpc.so
    cp "$1"/root/usr/lib/*/ggml/backends*/libggml-rpc.so "$root/tools/"
    server=$(first_of "$1"/root/usr/libexec/*/llama/bin/ggml-rpc-server)
    [ -n "$server" ] || die "the fetched packages hold no ggml-rpc-server" \
        "Debian $SUITE has moved on; this checkout needs a newer tools/setup"
    cp "$server" "$root/usr/bin/"
    ln -f "$(loader "$root")" "$root/tools/ggml-rpc-server"
}

fetch_rpc() {
    local packages dir=$DEPS/rpc
    mapfile -t packages < <(table rpc 2)
    write_apt_conf
    find_mirror
    check_rpc_version
    say "fetching ${packages[*]} from Debian $SUITE"
    rm -rf "$dir"
    mkdir -p "$dir"
    # As signed: apt checks what it downloads against its lists.
    (cd "$dir" && private_apt -q download "${packages[@]}" >"$DEPS/apt/fetch.log" 2>&1) || {
        complaints "$DEPS/apt/fetch.log"
        die "could not fetch ${packages[*]}" "is the network up? run tools/setup --rpc again"
    }
    unpack_rpc "$dir"
    rm -rf "$dir" "$DEPS/apt"
}

set_up_rpc() {
    ! rpc_is_there || return 0
    take_turns
    if have_system_llama; then
        link_system_rpc
    else
        have apt-get || die "no apt on this system: llama.cpp must be built with GGML_RPC=ON"
        [ -e "$DEPS/sysroot/tools/ggml-rpc-server" ] || fetch_rpc
        write_wrappers
    fi
    "$DEPS/bin/ggml-rpc-server" --help >/dev/null 2>&1 || die "ggml-rpc-server is there, but it does not run"
    say "ready: .deps/bin/ggml-rpc-server, and llama-server with --rpc"
}
