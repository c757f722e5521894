# shellcheck shell=bash
# Sourced by tools/setup: make $DEPS/sysroot from the fetched packages: unpack, prune, link, and lay out what runs.

# unpack ROOT: the packages become a tree. Nothing of them is run.
unpack() {
    local root=$1 dir file
    rm -rf "$root"
    mkdir -p "$root"
    # Debian has merged /lib into /usr/lib; the links come first so that a package that still says /lib lands there too.
    for dir in bin sbin lib lib64; do
        mkdir -p "$root/usr/$dir"
        ln -s "usr/$dir" "$root/$dir"
    done
    while read -r _ file; do
        dpkg-deb -x "$DEPS/apt/archives/$file" "$root" || die "could not unpack $file" \
            "is the disk full? otherwise: rm -rf .deps/apt and run tools/setup again"
    done <"$DEPS/apt/wanted"
}

# libdir ROOT: the folder of the libraries, relative to it; its name differs per machine type.
libdir() {
    local found
    found=$(first_of "$1"/usr/lib/*/libllama.so)
    found=${found#"$1"/}
    [ -n "$found" ] && printf '%s' "${found%/*}"
}

# runtime_name LIBDIR NAME...: the path under which a program asks for lib<NAME>.so at run time; the number at its end
# changes between releases.
runtime_name() {
    local lib=$1 name
    shift
    for name in "$@"; do printf '%s/%s\n' "$lib" "$(patchelf --print-soname "$lib/lib$name.so")"; done
}

# Static archives, translations, manuals and other machines' kernel headers are three quarters of the size.
prune() {
    local root=$1 lib=$2 triplet=${2##*/}
    find "$root/$lib" -name '*.a' -size +64k -delete
    find "$root/$lib" -xtype l -name '*.a' -delete
    find "$root/usr/include" -mindepth 1 -maxdepth 1 -type d -name '*-linux-gnu*' ! -name "$triplet" -exec rm -rf {} +
    find "$root/usr/share" -mindepth 1 -maxdepth 1 ! -name doc -exec rm -rf {} +
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "${root:?}"/etc "${root:?}"/var "$root/$lib/gconv" "$root/usr/libexec"
}

# On an installed system update-alternatives makes these; the packages do not contain them.
link_alternatives() {
    local dir=$1/$2/openblas-pthread name
    for name in libblas.so libblas.so.3 liblapack.so liblapack.so.3 libopenblas.so libopenblas.so.0; do
        if [ -e "$dir/$name" ] && [ ! -e "$1/$2/$name" ]; then ln -s "openblas-pthread/$name" "$1/$2/$name"; fi
    done
}

# The libraries carry search paths of the system they were built for, and a path of its own makes a library deaf to the
# program's: each is told to look beside itself. Only relative paths, so that the folder may be moved.
set_search_paths() {
    local lib=$1/$2 name
    for name in llama llama-common mtmd ggml ggml-base; do
        patchelf --set-rpath "\$ORIGIN" "$(readlink -f "$lib/lib$name.so")"
    done
    for name in "$lib"/ggml/backends*/*.so; do
        patchelf --set-rpath "\$ORIGIN/../..:\$ORIGIN/.." "$name"
    done
    for name in "$lib"/llama/*.so; do
        patchelf --set-rpath "\$ORIGIN:\$ORIGIN/.." "$name"
    done
}

# loader ROOT: the dynamic loader the tools ask for, as a real file inside ROOT.
loader() { readlink -f "$1$(patchelf --print-interpreter "$1/usr/bin/llama-bench")"; }

# needed ROOT LIBDIR FILE...: every library the files load, themselves included, by the name they are asked for.
needed() {
    local root=$1 lib=$2
    shift 2
    local file
    for file in "$@"; do
        printf '%s\n' "$file"
        "$(loader "$root")" --library-path "$root/$lib" --list "$file" | sed -n 's/.* => \(.*\) (0x.*/\1/p'
    done | awk -F / '!seen[$NF]++'
}

# gather DIR FILE...: hard links, by the names the files are asked for: no space, and a folder that can be copied as is.
gather() {
    local dir=$1 file
    shift
    mkdir -p "$dir"
    for file in "$@"; do ln -f "$(readlink -f "$file")" "$dir/${file##*/}"; done
}

# runtime/         all that a program linked with llama.cpp loads: the folder to copy when installing
# runtime-lapack/  the same for linear algebra, less what runtime/ has
# tools/           the loader under each tool's name, with the back ends beside it. The tools look for back ends in the
#                  folder of the running program, which is the loader; and ps and top show the tool's name this way.
lay_out() {
    local root=$1 lib=$2 names files file
    mapfile -t names < <(runtime_name "$root/$lib" llama mtmd ggml ggml-base jansson turbojpeg png webp)
    mapfile -t files < <(needed "$root" "$lib" "${names[@]}")
    gather "$root/runtime" "${files[@]}" "$(loader "$root")"
    gather "$root/runtime/backends" "$root/$lib"/ggml/backends*/*.so
    mapfile -t names < <(runtime_name "$root/$lib" lapacke openblas)
    mapfile -t files < <(needed "$root" "$lib" "${names[@]}")
    for file in "${files[@]}"; do
        [ -e "$root/runtime/${file##*/}" ] || gather "$root/runtime-lapack" "$file"
    done
    gather "$root/tools" "$root/$lib"/ggml/backends*/*.so
    for file in "$root"/usr/bin/llama-*; do ln -f "$(loader "$root")" "$root/tools/${file##*/}"; done
}

# runtime-server/  llama-server and what it loads beyond runtime/: what `serve` needs in an installation. Made of what is
#                  there already, so it is no part of the key below.
lay_out_server() {
    local root=$1 lib=$2 files file
    [ -e "$root/runtime-server/llama-server.bin" ] && return 0
    mapfile -t files < <(needed "$root" "$lib:$root/$lib/llama" "$root/usr/bin/llama-server")
    for file in "${files[@]}"; do
        [ -e "$root/runtime/${file##*/}" ] || gather "$root/runtime-server" "$file"
    done
    mv "$root/runtime-server/llama-server" "$root/runtime-server/llama-server.bin"
}

# The recipe's own text is part of the key: a changed list or a changed way of unpacking makes a new tree.
sysroot_key() {
    {
        engine_packages
        dpkg --print-architecture
        declare -f unpack runtime_name prune link_alternatives set_search_paths needed gather lay_out
    } 2>/dev/null | sha256sum | cut -c 1-16
}

sysroot_is_complete() {
    [ "$(cat "$DEPS/sysroot/.complete" 2>/dev/null)" = "$(sysroot_key)" ] && [ -x "$DEPS/sysroot/tools/llama-bench" ]
}

# The tree gets its name only when it is whole, so an interrupted run leaves nothing that looks finished.
make_sysroot() {
    local root=$DEPS/sysroot.tmp lib
    sysroot_is_complete && return 0
    write_apt_conf
    fetch_packages
    say "unpacking into .deps/sysroot"
    unpack "$root"
    lib=$(libdir "$root") || die "the fetched packages hold no libllama.so" \
        "Debian $SUITE has moved on; this checkout needs a newer tools/setup"
    llama_new_enough "$(pc_version "$root")" ||
        die "Debian $SUITE brings llama.cpp $(pc_version "$root"), and $MIN_LLAMA is needed" \
            "does this machine's mirror keep an old copy?"
    prune "$root" "$lib"
    link_alternatives "$root" "$lib"
    set_search_paths "$root" "$lib"
    lay_out "$root" "$lib"
    sysroot_key >"$root/.complete"
    rm -rf "$DEPS/sysroot"
    mv "$root" "$DEPS/sysroot"
    rm -rf "$DEPS/apt"
    say "llama.cpp $(pc_version "$DEPS/sysroot") is in .deps ($(du -sm "$DEPS" | cut -f 1) MiB)"
}

# pc_version ROOT
pc_version() { sed -n 's/^Version: //p' "$1/$(libdir "$1")/pkgconfig/llama.pc"; }
