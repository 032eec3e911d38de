# What the scripts share: the checkout's root, the tools that a build needs, and a build that is skipped when nothing has
# changed. Sourced, not run. Everything here speaks on standard error.
# shellcheck shell=bash

KV8_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
KV8_STATE="$KV8_ROOT/target"
KV8_STAMP="$KV8_STATE/kv8-build.stamp"
KV8_LOG="$KV8_STATE/kv8-build.log"
KV8_CLI="$KV8_ROOT/java/kv8-cli/target"
KV8_EMULATORS="$KV8_ROOT/native/target/dist/linux-x86_64/test-plugins"

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# at_least FOUND WANTED: whether version FOUND is WANTED or later.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

has() { command -v "$1" >/dev/null 2>&1; }

has_jdk() { has javac && at_least "$(javac -version 2>&1 | sed -n 's/^javac \([0-9.]*\).*/\1/p')" 17; }

has_cmake() { has cmake && at_least "$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')" 3.25; }

has_compiler() { has "${CXX:-c++}" || has g++; }

has_gtest() {
    echo '#include <gtest/gtest.h>' | "${CXX:-c++}" -x c++ -std=c++17 -fsyntax-only - >/dev/null 2>&1
}

# Prints "what is missing|Debian package" for each thing that a build (and with "tests" a test run) needs and lacks.
missing_tools() {
    has_jdk || echo "a JDK 17 or later (javac)|openjdk-17-jdk-headless"
    has mvn || echo "Maven (mvn)|maven"
    has_compiler || echo "a C++17 compiler (c++)|g++"
    has_cmake || echo "CMake 3.25 or later (cmake)|cmake"
    has ninja || echo "Ninja (ninja)|ninja-build"
    if [ "${1:-}" = tests ]; then
        has_gtest || echo "GoogleTest (gtest/gtest.h)|libgtest-dev"
    fi
}

quiet_apt() { env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

apt_install() {
    mkdir -p "$KV8_STATE"
    say "Installing $* ..."
    if ! { quiet_apt update && quiet_apt install -y --no-install-recommends "$@"; } \
        >"$KV8_STATE/apt.log" 2>&1 </dev/null; then
        tail -n 15 "$KV8_STATE/apt.log" >&2
        fail "apt-get could not install $*; the whole log is target/apt.log."
    fi
}

can_install() { [ "$(id -u)" = 0 ] && has apt-get; }

# Tools that the tests do without where they cannot be had: CMake leaves out what needs them, and says so. NVIDIA's compiler
# is in no Debian and has to be there.
install_optional_tools() {
    local missing=() known=() package
    has clang++-22 || missing+=(clang-22)
    has ld.lld-22 || missing+=(lld-22)
    has llvm-readelf-22 || missing+=(llvm-22)
    has patch || missing+=(patch)
    has redis-server || missing+=(redis-server)
    has aarch64-linux-gnu-g++ || missing+=(g++-aarch64-linux-gnu)
    has qemu-aarch64-static || missing+=(qemu-user-static)
    has chromium || has google-chrome || missing+=(chromium)
    if [ "${#missing[@]}" = 0 ] || ! can_install; then return 0; fi
    quiet_apt update >/dev/null 2>&1 </dev/null || true
    for package in "${missing[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); fi
    done
    [ "${#known[@]}" = 0 ] || apt_install "${known[@]}"
}

# Root on a Debian or Ubuntu gets what is missing; anybody else is told what it is.
require_tools() {
    local missing packages
    missing="$(missing_tools "${1:-}")"
    [ -n "$missing" ] || return 0
    mapfile -t packages < <(cut -d '|' -f 2 <<<"$missing")
    if can_install; then
        apt_install "${packages[@]}"
        missing="$(missing_tools "${1:-}")"
        [ -n "$missing" ] || return 0
    fi
    say "This machine lacks:"
    cut -d '|' -f 1 <<<"$missing" | sed 's/^/  - /' >&2
    fail "install it first (on Debian or Ubuntu: sudo apt-get install ${packages[*]})."
}

# One line that changes when a source of the command does: names, sizes and times of all files that go into it.
source_state() {
    (
        cd "$KV8_ROOT"
        for place in pom.xml .mvn native java cmake; do
            [ ! -e "$place" ] || find "$place" \( -name target -o -path '*/src/test' \) -prune -o \
                -type f -printf '%p %s %T@\n'
        done | LC_ALL=C sort | cksum
    )
}

# java_property NAME: the value that JAVA_OPTS gives a system property.
java_property() {
    local word value=""
    for word in ${JAVA_OPTS:-}; do
        case "$word" in "-D$1="*) value="${word#*=}" ;; esac
    done
    printf '%s\n' "$value"
}

# The part of kv8 that the command needs beside the CPU backend: "cuda", "rocm", "emulator.sm_90" or nothing.
needed_part() {
    local backend arch
    backend="$(java_property kv.backend)"
    case "${backend:-${KV8_BACKEND:-}}" in
        cuda | rocm) printf '%s\n' "${backend:-$KV8_BACKEND}" ;;
        emulator)
            arch="$(java_property kv8.emulator)"
            printf 'emulator.%s\n' "${arch:-sm_90}"
            ;;
    esac
}

# has_part PART: whether the last build made it. Other builds in this checkout may have taken it away again.
has_part() {
    case "$1" in
        cuda | rocm) grep -q -e "-$1\.jar" "$KV8_CLI/classpath" ;;
        emulator.*) [ -f "$KV8_EMULATORS/libkv8_emulator_${1#*.}.so" ] && grep -qx "$1" "$KV8_STAMP" ;;
    esac
}

# Whether the command and the part it needs are built from the sources as they are.
is_fresh() {
    local part
    part="$(needed_part)"
    [ -s "$KV8_CLI/classpath" ] && [ -f "$KV8_STAMP" ] && [ "$(source_state)" = "$(head -n 1 "$KV8_STAMP")" ] &&
        { [ -z "$part" ] || has_part "$part"; }
}

# Builds the command and what it stands on, without tests, unless it is built already. GPU kernels, which take minutes, are
# built only when JAVA_OPTS or KV8_BACKEND asks for them. Two callers take turns.
build_if_stale() {
    local part options
    ! is_fresh || return 0
    part="$(needed_part)"
    require_tools
    mkdir -p "$KV8_STATE"
    options=(-DskipTests -Dmaven.test.skip=true -Dcyclonedx.skip=true -Dkv8.cuda=OFF -Dkv8.rocm=OFF)
    case "$part" in
        cuda | rocm) options+=("-Dkv8.$part=ON" "-Dkv.backend=$part") ;;
        emulator.*) options+=(-Dkv8.native.emulator=ON "-Dkv8.native.emulator.architectures=${part#*.}") ;;
    esac
    (
        if has flock; then flock 9; fi
        ! is_fresh || exit 0
        cd "$KV8_ROOT"
        state="$(source_state)"
        rm -f "$KV8_STAMP"
        if ! mvn -B -ntp "${options[@]}" -pl java/kv8-cli -am package >"$KV8_LOG" 2>&1 </dev/null; then
            grep -E '^\[(ERROR|WARNING)\] .*(\.java:|Failed)|error:|FAILED:|CMake Error' -A 3 "$KV8_LOG" | head -n 20 >&2 || true
            fail "the build failed; the whole log is ${KV8_LOG#"$KV8_ROOT"/}."
        fi
        printf '%s\n' "$state" "$part" >"$KV8_STAMP"
    ) 9>"$KV8_STATE/kv8-build.lock"
}

# Becomes the kv8 command. Words of JAVA_OPTS go to the JVM.
exec_kv8() {
    local java_options=() jars
    read -r -a java_options <<<"${JAVA_OPTS:-}" || true
    case "$(needed_part)" in emulator.*) java_options+=("-Dkv8.emulator.directory=$KV8_EMULATORS") ;; esac
    jars=("$KV8_CLI"/kv8-cli-*.jar)
    # Arguments and file names are UTF-8 even where no locale is set.
    if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then export LC_ALL=C.UTF-8; fi
    exec java --enable-native-access=ALL-UNNAMED "${java_options[@]}" \
        -cp "${jars[0]}:$(cat "$KV8_CLI/classpath")" dev.kv8.cli.Kv8 "$@"
}
