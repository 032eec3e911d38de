#!/bin/sh
# Holds shared libraries, and programs, against what users' machines have: libraries.sh LIBRARY... Each needs no library but the C library's
# and the compiler's own, no symbol of a glibc newer than 2.34, and a plug-in exports its entry alone.
set -eu
failures=0
report() {
    echo "$1"
    failures=$((failures + 1))
}

for library in "$@"; do
    needed=$(readelf --dynamic --wide "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    for name in $needed; do
        case $name in
        libc.so.6 | libm.so.6 | libgcc_s.so.1 | ld-linux-x86-64.so.2 | ld-linux-aarch64.so.1) ;;
        *) report "$library needs $name" ;;
        esac
    done
    newest=$(readelf --version-info --wide "$library" | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -n 1)
    if [ "$(printf '%s\nGLIBC_2.34\n' "$newest" | sort -V | tail -n 1)" != GLIBC_2.34 ]; then
        report "$library needs $newest; the oldest systems that kv8 runs on have GLIBC_2.34"
    fi
    exported=$(readelf --dyn-syms --wide "$library" | awk '$5 != "LOCAL" && $7 ~ /^[0-9]+$/ { print $8 }')
    case $library in
    *libjnikv8.so | *kv8-gpu-verify) ;;
    *) [ "$exported" = kv8_plugin_v1 ] || report "$library exports, beside its entry: $exported" ;;
    esac
done
[ "$failures" = 0 ]
