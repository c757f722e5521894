# shellcheck shell=bash
# Sourced by tools/setup: the tools in $DEPS/bin, the description of the engine's build in $DEPS/engine.cmake, and the
# proof that a program built by that description works.

ENGINE_LIBS=(llama mtmd ggml ggml-base jansson turbojpeg png webp m pthread)
# The same for pkg-config, where the system brings them.
ENGINE_MODULES=(llama jansson libturbojpeg libpng libwebp)

# ---- tools and build description -------------------------------------------------------------------------------------

# The wrapper finds its own folder, so .deps may be moved, and becomes the tool (exec), so its pid is the tool's. The
# tools complain once per kind of device that the system's back-end folder does not exist; that is harmless.
write_wrappers() {
    local lib tool
    lib=$(libdir "$DEPS/sysroot")
    rm -rf "$DEPS/bin.tmp"
    mkdir -p "$DEPS/bin.tmp"
    for tool in "$DEPS"/sysroot/usr/bin/llama-* "$DEPS"/sysroot/usr/bin/ggml-rpc-server; do
        [ -e "$tool" ] || continue # the last one only with --rpc
        tool=${tool##*/}
        cat >"$DEPS/bin.tmp/$tool" <<EOF
#!/bin/sh
# made by tools/setup: runs $tool of the private llama.cpp with its own loader and libraries
root=\$(dirname "\$(readlink -f "\$0")")/../sysroot
exec "\$root/tools/$tool" --argv0 $tool \\
    --library-path "\$root/$lib:\$root/$lib/llama" "\$root/usr/bin/$tool" "\$@"
EOF
        chmod +x "$DEPS/bin.tmp/$tool"
    done
    swap_bin
}

# The same names in .deps/bin whoever brings the tools, so that tests need not ask.
link_system_tools() {
    local path dir tool
    rm -rf "$DEPS/bin.tmp"
    mkdir -p "$DEPS/bin.tmp"
    IFS=: read -ra path <<<"$PATH"
    for dir in "${path[@]}"; do
        for tool in "$dir"/llama-*; do
            if [ -x "$tool" ] && [ ! -e "$DEPS/bin.tmp/${tool##*/}" ]; then ln -s "$tool" "$DEPS/bin.tmp/"; fi
        done
    done
    swap_bin
}

swap_bin() {
    rm -rf "${DEPS:?}/bin"
    mv "$DEPS/bin.tmp" "$DEPS/bin"
}

# cmake_set NAME VALUE...
cmake_set() {
    local name=$1 format=' "%s"'
    shift
    [ "$#" -le 1 ] || format='\n    "%s"'
    printf 'set(%s' "$name"
    # shellcheck disable=SC2059  # the format is one of the two above
    [ "$#" -eq 0 ] || printf "$format" "$@"
    printf ')\n'
}

# link_flags ROOT LIB LOADER: one per line. -B and -L keep gcc from taking the host's start files and C library, which it
# finds next to itself whatever --sysroot says. DT_RPATH rather than DT_RUNPATH: it also serves the libraries that have
# no search path of their own, which would otherwise be looked for in the host's cache and meet the host's C library.
link_flags() {
    printf '%s\n' "--sysroot=$1" "-B$2/" "-L$2" "-Wl,--dynamic-linker=$3" -Wl,--disable-new-dtags "-Wl,-rpath,$2" \
        "-Wl,-rpath-link,$2"
}

# names DIR: the files in DIR, as CMake paths below the sysroot.
names() {
    local file
    for file in "$DEPS/sysroot/$1"/*; do
        [ -d "$file" ] || printf '%s\n' "\${WATTLAW_ENGINE_SYSROOT}/$1/${file##*/}"
    done
}

# shellcheck disable=SC2016  # the dollars are for CMake
write_engine_cmake_private() {
    local lib ld list triplet backends
    lib=$(libdir "$DEPS/sysroot")
    triplet=${lib##*/}
    ld=$(loader "$DEPS/sysroot")
    backends=$(first_of "$DEPS/sysroot/$lib"/ggml/backends*)
    printf '# made by tools/setup: how to compile and link against llama.cpp; every path follows this file\n'
    cmake_set WATTLAW_ENGINE_PRIVATE ON
    cmake_set WATTLAW_ENGINE_VERSION "$(pc_version "$DEPS/sysroot")"
    cmake_set WATTLAW_ENGINE_SYSROOT '${CMAKE_CURRENT_LIST_DIR}/sysroot'
    cmake_set WATTLAW_ENGINE_LIBRARY_DIR '${WATTLAW_ENGINE_SYSROOT}/'"$lib"
    cmake_set WATTLAW_ENGINE_DYNAMIC_LINKER '${WATTLAW_ENGINE_LIBRARY_DIR}/'"${ld##*/}"
    cmake_set WATTLAW_ENGINE_BACKENDS_DIR '${WATTLAW_ENGINE_LIBRARY_DIR}/ggml/'"${backends##*/}"
    cmake_set WATTLAW_ENGINE_CFLAGS '--sysroot=${WATTLAW_ENGINE_SYSROOT}'
    mapfile -t list < <(link_flags '${WATTLAW_ENGINE_SYSROOT}' '${WATTLAW_ENGINE_LIBRARY_DIR}' \
        '${WATTLAW_ENGINE_DYNAMIC_LINKER}')
    cmake_set WATTLAW_ENGINE_LDFLAGS "${list[@]}"
    cmake_set WATTLAW_ENGINE_LIBS "${ENGINE_LIBS[@]}"
    printf '# linear algebra, apart because it is large and only some programs need it\n'
    cmake_set WATTLAW_ENGINE_LAPACK_CFLAGS -isystem '${WATTLAW_ENGINE_SYSROOT}/usr/include/'"$triplet/openblas-pthread"
    cmake_set WATTLAW_ENGINE_LAPACK_LIBS lapacke openblas
    printf '# flat and whole: copy RUNTIME_DIR (with its backends/) to run the engine from another place\n'
    cmake_set WATTLAW_ENGINE_RUNTIME_DIR '${WATTLAW_ENGINE_SYSROOT}/runtime'
    mapfile -t list < <(names runtime)
    cmake_set WATTLAW_ENGINE_RUNTIME_LIBS "${list[@]}"
    mapfile -t list < <(names runtime/backends)
    cmake_set WATTLAW_ENGINE_RUNTIME_BACKENDS "${list[@]}"
    mapfile -t list < <(names runtime-lapack)
    cmake_set WATTLAW_ENGINE_RUNTIME_LAPACK_LIBS "${list[@]}"
    mapfile -t list < <(names runtime-server)
    cmake_set WATTLAW_ENGINE_RUNTIME_SERVER "${list[@]}"
}

# pkg_words OPTION MODULE...: what pkg-config says, one word per line; nothing if it knows no such module.
pkg_words() {
    local words=()
    read -ra words < <(pkg-config "$@" 2>/dev/null) || true
    [ "${#words[@]}" -eq 0 ] || printf '%s\n' "${words[@]}"
}

write_engine_cmake_system() {
    local libdir list backends
    libdir=$(pkg-config --variable=libdir llama)
    # Debian keeps the back ends in a folder; where there is none the library's own search serves.
    backends=$(first_of "$libdir"/ggml/backends*)
    printf '# made by tools/setup: how to compile and link against the llama.cpp of this system\n'
    cmake_set WATTLAW_ENGINE_PRIVATE OFF
    cmake_set WATTLAW_ENGINE_VERSION "$(pkg-config --modversion llama)"
    cmake_set WATTLAW_ENGINE_SYSROOT
    cmake_set WATTLAW_ENGINE_LIBRARY_DIR "$libdir"
    cmake_set WATTLAW_ENGINE_DYNAMIC_LINKER
    cmake_set WATTLAW_ENGINE_BACKENDS_DIR "$backends"
    mapfile -t list < <(pkg_words --cflags "${ENGINE_MODULES[@]}")
    cmake_set WATTLAW_ENGINE_CFLAGS "${list[@]}"
    mapfile -t list < <(pkg_words --libs-only-L "${ENGINE_MODULES[@]}" &&
        pkg_words --libs-only-other "${ENGINE_MODULES[@]}")
    cmake_set WATTLAW_ENGINE_LDFLAGS "${list[@]}" "-L$libdir" "-Wl,-rpath,$libdir"
    cmake_set WATTLAW_ENGINE_LIBS "${ENGINE_LIBS[@]}"
    mapfile -t list < <(pkg_words --cflags openblas)
    cmake_set WATTLAW_ENGINE_LAPACK_CFLAGS "${list[@]}"
    cmake_set WATTLAW_ENGINE_LAPACK_LIBS lapacke openblas
    cmake_set WATTLAW_ENGINE_RUNTIME_DIR
    cmake_set WATTLAW_ENGINE_RUNTIME_LIBS
    cmake_set WATTLAW_ENGINE_RUNTIME_BACKENDS
    cmake_set WATTLAW_ENGINE_RUNTIME_LAPACK_LIBS
}

# replace FILE: standard input becomes FILE, all at once; an unchanged file keeps its date, so that CMake stays calm.
replace() {
    cat >"$1.tmp"
    if cmp -s "$1.tmp" "$1"; then rm "$1.tmp"; else mv "$1.tmp" "$1"; fi
}

# ---- does it work? ---------------------------------------------------------------------------------------------------

probe_source() {
    cat <<'EOF'
#include <ggml-backend.h>
#include <llama.h>
#include <mtmd.h>
#include <jansson.h>
#include <stdio.h>
#include <png.h>
#include <turbojpeg.h>
#include <webp/decode.h>

int main(int argc, char **argv)
{
    ggml_backend_load_all_from_path(argc > 1 && argv[1][0] ? argv[1] : NULL);
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!cpu) {
        fputs("no CPU back end was found\n", stderr);
        return 1;
    }
    json_decref(json_object());
    tjhandle jpeg = tjInitDecompress();
    if (!jpeg || tjDestroy(jpeg) || !png_access_version_number() || !WebPGetDecoderVersion()) {
        fputs("the libraries of pictures do not answer\n", stderr);
        return 1;
    }
    printf("llama.cpp %s, ggml %s, %s\n", llama_version(), ggml_version(), ggml_backend_dev_description(cpu));
    return mtmd_default_marker() == NULL;
}
EOF
}

# probe_private: compile, link and run a small program exactly as the engine will be.
probe_private() {
    local root=$DEPS/sysroot lib flags
    lib=$root/$(libdir "$root")
    mapfile -t flags < <(link_flags "$root" "$lib" "$(loader "$root")")
    probe_source >"$DEPS/probe.c"
    cc -std=c17 -o "$DEPS/probe" "$DEPS/probe.c" "${flags[@]}" "${ENGINE_LIBS[@]/#/-l}" &&
        "$DEPS/probe" "$(first_of "$lib"/ggml/backends*)" && "$DEPS/bin/llama-bench" --help >/dev/null
}

probe_system() {
    local flags libdir
    libdir=$(pkg-config --variable=libdir llama)
    mapfile -t flags < <(pkg_words --cflags "${ENGINE_MODULES[@]}" && pkg_words --libs "${ENGINE_MODULES[@]}")
    probe_source >"$DEPS/probe.c"
    cc -std=c17 -o "$DEPS/probe" "$DEPS/probe.c" "${flags[@]}" "-L$libdir" "-Wl,-rpath,$libdir" \
        "${ENGINE_LIBS[@]/#/-l}" && "$DEPS/probe" "$(first_of "$libdir"/ggml/backends*)"
}

# run_probe private|system
run_probe() {
    if ! "probe_$1" >"$DEPS/probe.log" 2>&1; then
        tail -n 15 "$DEPS/probe.log" >&2
        die "llama.cpp is there, but a small program cannot use it (above and in .deps/probe.log)" \
            "try: rm -rf .deps && tools/setup"
    fi
    say "ready: $(grep -m 1 '^llama.cpp' "$DEPS/probe.log") ($1)"
    rm -f "$DEPS/probe" "$DEPS/probe.c" "$DEPS/probe.log"
}
