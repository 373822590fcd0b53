#!/bin/sh
# check_step.sh STEP - one step of ./check beside the tests of the release build.
# Exit 0: fine, 77: left out (and says why), anything else: failed.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/setup.sh

CFLAGS_HEADER='-Wall -Wextra -Wpedantic -Werror -fsyntax-only'

skip() {
    echo "left out: $*"
    exit 77
}

# suite PRESET CTEST-OPTION...: builds a preset, runs a part of its tests
suite() {
    preset=$1
    shift
    configure_and_build "$preset" all -DENTRO_TESTS=ON -DENTRO_WERROR=ON \
        "-DENTRO_PYTHON=${PYTHON:-python3}" ||
        give_up "$LOGS/build-$preset.log" "the $preset build failed"
    ctest --test-dir "build/$preset" --output-on-failure -j "$(nproc)" "$@" >"$LOGS/check-$preset.log" 2>&1
    code=$?
    if [ $code = 0 ]; then
        grep 'tests passed' "$LOGS/check-$preset.log"
    else
        give_up "$LOGS/check-$preset.log" "tests of the $preset build failed, see $LOGS/check-$preset.log"
    fi
}

case ${1:-} in
rooms)
    python3 scripts/check_rooms.py
    ;;
format)
    version=$(clang-format --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
    [ "$version" = 14 ] || skip "clang-format ${version:-none} here; 14 is the one that decides"
    find include src programs tests bench -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
    ;;
headers)
    # shellcheck disable=SC2086 # a list of words
    gcc -std=c17 $CFLAGS_HEADER -x c include/entrollm/entrollm.h &&
        g++ -std=c++17 $CFLAGS_HEADER -x c++ include/entrollm/entrollm.h
    ;;
asan)
    suite asan -R '^(unit|fuzz|api|cli)/'
    ;;
tsan)
    # Some kernels lay memory out in a way that older sanitizers refuse.
    echo 'int main(void){return 0;}' | gcc -fsanitize=thread -x c -o build/tsan-probe - 2>/dev/null
    build/tsan-probe 2>/dev/null || skip "programs under the thread sanitizer do not start here"
    suite tsan -R '^(unit/(engine|linear|pipeline|eval)/|api/|unit/base/test_pool)'
    ;;
aarch64)
    [ "${ARM:-yes}" = yes ] || skip "$ARM"
    suite aarch64 -R '^(unit|fuzz)/'
    ;;
*)
    echo "usage: check_step.sh rooms|format|headers|asan|tsan|aarch64" >&2
    exit 2
    ;;
esac
