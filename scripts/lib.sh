# What the scripts share: the checkout's root, the tools that a build needs, and a build that is skipped when nothing has
# changed. Sourced, not run. Everything here speaks on standard error.
# shellcheck shell=bash

KV8_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
KV8_STATE="$KV8_ROOT/target"
KV8_STAMP="$KV8_STATE/kv8-build.stamp"
KV8_LOG="$KV8_STATE/kv8-build.log"
KV8_CLI="$KV8_ROOT/java/kv8-cli/target"

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

is_fresh() {
    [ -s "$KV8_CLI/classpath" ] && [ -f "$KV8_STAMP" ] && [ "$(source_state)" = "$(cat "$KV8_STAMP")" ]
}

# Builds the command and what it stands on, without tests, unless it is built already. Two callers take turns.
build_if_stale() {
    ! is_fresh || return 0
    require_tools
    mkdir -p "$KV8_STATE"
    (
        if has flock; then flock 9; fi
        ! is_fresh || exit 0
        cd "$KV8_ROOT"
        state="$(source_state)"
        rm -f "$KV8_STAMP"
        if ! mvn -B -ntp -DskipTests -Dmaven.test.skip=true -Dkv8.native.tests=OFF -pl java/kv8-cli -am package \
            >"$KV8_LOG" 2>&1 </dev/null; then
            grep -E '^\[(ERROR|WARNING)\] .*(\.java:|Failed)|error:|FAILED:' "$KV8_LOG" | head -n 20 >&2 || true
            fail "the build failed; the whole log is ${KV8_LOG#"$KV8_ROOT"/}."
        fi
        printf '%s\n' "$state" >"$KV8_STAMP"
    ) 9>"$KV8_STATE/kv8-build.lock"
}

# Becomes the kv8 command. Words of JAVA_OPTS go to the JVM.
exec_kv8() {
    local java_options=() jars
    read -r -a java_options <<<"${JAVA_OPTS:-}" || true
    jars=("$KV8_CLI"/kv8-cli-*.jar)
    # Arguments and file names are UTF-8 even where no locale is set.
    if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then export LC_ALL=C.UTF-8; fi
    exec java --enable-native-access=ALL-UNNAMED "${java_options[@]}" \
        -cp "${jars[0]}:$(cat "$KV8_CLI/classpath")" dev.kv8.cli.Kv8 "$@"
}
