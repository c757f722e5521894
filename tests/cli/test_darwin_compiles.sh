#!/usr/bin/env bash
# What is written for macOS compiles against stub headers, without a warning, has the same functions
# as its Linux twin, and passes its tests on shims. See tests/darwin_stubs/README.md.
source_dir=${WATTLAW_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
command -v cc >/dev/null || skip 'no C compiler (cc)'
command -v nm >/dev/null || skip 'no nm'
[ "$(uname)" = Linux ] || skip 'the real headers are here'
flags=(-std=c17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes
    -Wmissing-prototypes -Wvla -Wundef -Wformat=2 -Wwrite-strings -Werror -I"$source_dir/src"
    -include "$source_dir/src/base/banned.h")
apple=(-D__APPLE__ -I"$source_dir/tests/darwin_stubs")

# functions_of OBJECT: what it defines for others, sorted.
functions_of() { nm --defined-only "$1" | awk '$2 ~ /[TDBR]/ {print $3}' | sort; }

for file in "$source_dir"/src/os/linux/*.c; do
    name=$(basename "$file" .c)
    twin=$source_dir/src/os/darwin/$name.c
    ok "src/os/darwin/$name.c compiles" cc "${flags[@]}" "${apple[@]}" -c "$twin" -o "darwin-$name.o"
    ok "src/os/linux/$name.c compiles" cc "${flags[@]}" -c "$file" -o "linux-$name.o"
    functions_of "darwin-$name.o" >darwin.txt
    functions_of "linux-$name.o" >linux.txt
    ok "src/os/darwin/$name.c has the functions of its Linux twin" diff -u linux.txt darwin.txt
done
ok 'src/meter/source_rusage.c compiles' \
    cc "${flags[@]}" "${apple[@]}" -c "$source_dir/src/meter/source_rusage.c" -o rusage.o
ok 'it reads the counter there' sh -c 'nm rusage.o | grep -q "U proc_pid_rusage"'

shims=("$source_dir"/tests/darwin_stubs/shims.c "$source_dir"/src/os/darwin/*.c
    "$source_dir"/src/os/{clock,process,file,draft}.c
    "$source_dir"/src/base/{err,str,status,buf}.c)
if ! echo '#include <cmocka.h>' | cc -include stdarg.h -include stddef.h -include setjmp.h \
    -include stdint.h -fsyntax-only -x c - 2>/dev/null; then
    printf '# not run without cmocka: the tests of processes\n'
elif ok 'the tests of processes compile' cc -std=c17 -D_GNU_SOURCE "${apple[@]}" -I"$source_dir/src" \
    "$source_dir/tests/unit/test_os_process.c" "${shims[@]}" -lcmocka -lm -o test_os_process; then
    ok 'the tests of processes pass on it' ./test_os_process
fi
