# shellcheck shell=sh disable=SC2034 # its variables are for the scripts that source it
# setup.sh - what ./demo and ./check share: one-line steps, packages, Python, model, build.
#
# Sourced, POSIX sh, started in the root of the project.  Rules:
#   - look before installing: a second run finds everything there and needs no network;
#   - every step prints one line; what tools say goes to build/NAME.log, whose end is shown when a
#     step fails;
#   - apt-get is called as root, else through sudo, else the command to type is printed.

LOGS=build
VENV=build/venv
MODEL=models/SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$LOGS"

# ---- talk -----------------------------------------------------------------------------------------

# say NAME TEXT: the line of a step
say() {
    printf '  %-14s %s\n' "$1" "$2"
}

# give_up LOG TEXT...: shows the end of the log, says what to do, ends
give_up() {
    if [ -n "$1" ] && [ -s "$1" ]; then
        printf '\n--- the last lines of %s ---\n' "$1" >&2
        tail -n 20 "$1" >&2
        printf '%s\n' '---' >&2
    fi
    shift
    printf '\nerror: %s\n' "$1" >&2
    shift
    for line; do
        printf '       %s\n' "$line" >&2
    done
    exit 1
}

# Started through sudo, the folders we made belong to the person who typed the command.
give_back_ownership() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_UID:-}" ]; then
        for folder in build models; do
            [ ! -d $folder ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" $folder
        done
    fi
}
trap give_back_ownership EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

# ---- packages ---------------------------------------------------------------------------------------
# Each line of a list: what it takes to have it, then the Debian packages that bring it.
#   cmd:X   a command        pc:X   a pkg-config module      py:X   modules of python3
#   file:X  a file           cc:X   that compiler makes a program

NEEDS_BUILD='
cc:cc        gcc libc6-dev
cmd:cmake    cmake
cmd:ninja    ninja-build
cmd:pkg-config pkg-config
pc:jansson   libjansson-dev
pc:libutf8proc libutf8proc-dev
pc:libxxhash libxxhash-dev
pc:libzstd   libzstd-dev
pc:openblas  libopenblas-dev
py:venv,ensurepip python3 python3-venv'

NEEDS_CHECK='
cmd:c++      g++
cmd:git      git
pc:cmocka    libcmocka-dev
cmd:clang-format clang-format'

NEEDS_ARM='
cmd:aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
cmd:qemu-aarch64 qemu-user
file:/usr/lib/aarch64-linux-gnu/pkgconfig/jansson.pc libjansson-dev:arm64
file:/usr/lib/aarch64-linux-gnu/pkgconfig/libutf8proc.pc libutf8proc-dev:arm64
file:/usr/lib/aarch64-linux-gnu/pkgconfig/libxxhash.pc libxxhash-dev:arm64
file:/usr/lib/aarch64-linux-gnu/pkgconfig/libzstd.pc libzstd-dev:arm64
file:/usr/lib/aarch64-linux-gnu/pkgconfig/openblas.pc libopenblas-dev:arm64
file:/usr/lib/aarch64-linux-gnu/pkgconfig/cmocka.pc libcmocka-dev:arm64'

have() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" ;;
    pc:*) pkg-config --exists "${1#pc:}" ;;
    py:*) python3 -c "import ${1#py:}" ;;
    file:*) test -e "${1#file:}" ;;
    cc:*) echo 'int main(void){return 0;}' | "${1#cc:}" -x c -o /dev/null - ;;
    esac >/dev/null 2>&1
}

# missing LIST: the packages that are not there, on one line
missing() {
    printf '%s\n' "$1" | while read -r need packages; do
        [ -z "$need" ] || have "$need" || printf '%s ' "$packages"
    done
}

# apt_install LOG PACKAGE...: quiet; returns apt's verdict
apt_install() {
    log=$1
    shift
    {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null
}

can_apt() {
    command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1; }
}

# setup_packages NAME LIST: installs what is missing, or says why not and ends
setup_packages() {
    todo=$(missing "$2")
    if [ -z "$todo" ]; then
        say "$1" "all there"
        return
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        give_up '' "these Debian packages, or what your system calls them, are missing:" "$todo" \
            "There is no apt-get here: install them your way, then run this again."
    fi
    if ! can_apt; then
        give_up '' "packages are missing and you are neither root nor is there sudo.  Ask for:" \
            "apt-get install $todo"
    fi
    say "$1" "installing $todo"
    [ "$(id -u)" = 0 ] || sudo -v || give_up '' "sudo said no.  Without it, have installed:" "$todo"
    # shellcheck disable=SC2086 # a list of words
    apt_install "$LOGS/apt.log" $todo || true
    todo=$(missing "$2")
    [ -z "$todo" ] || give_up "$LOGS/apt.log" "apt-get could not install: $todo" \
        "Is there a network?  On a machine without, install these packages from its own mirror" \
        "or medium, then run this again; nothing else here needs them fetched."
}

# Sets ARM to yes, or to the reason why the ARM build is left out.
setup_arm() {
    ARM=yes
    case $(uname -m) in
    x86_64) ;;
    *) ARM="this machine is $(uname -m); the cross build is for x86_64" && return ;;
    esac
    [ -n "$(missing "$NEEDS_ARM")" ] || return 0
    ARM="cross compiler, qemu-user or arm64 libraries are missing"
    if ! can_apt || ! command -v dpkg >/dev/null 2>&1; then
        return 0
    fi
    added=
    if ! dpkg --print-foreign-architectures | grep -qx arm64; then
        # Ubuntu keeps arm64 on another mirror: adding it would break the next apt-get update.
        if grep -qi '^ID=ubuntu' /etc/os-release 2>/dev/null; then
            ARM="$ARM, and Ubuntu's arm64 packages need a mirror of their own"
            return 0
        fi
        as_root dpkg --add-architecture arm64 && added=yes
    fi
    # shellcheck disable=SC2046 # a list of words
    if apt_install "$LOGS/apt-arm.log" $(missing "$NEEDS_ARM") && [ -z "$(missing "$NEEDS_ARM")" ]; then
        ARM=yes
    else
        ARM="$ARM; apt-get could not bring them, see $LOGS/apt-arm.log"
        [ -z "$added" ] || as_root dpkg --remove-architecture arm64 || true
    fi
}

# ---- Python -----------------------------------------------------------------------------------------

setup_venv() {
    [ -x $VENV/bin/python ] && $VENV/bin/python -m pip --version >/dev/null 2>&1 && return
    rm -rf $VENV
    python3 -m venv $VENV >"$LOGS/venv.log" 2>&1 ||
        give_up "$LOGS/venv.log" "python3 -m venv $VENV failed"
}

# Sets PYTHON; without a network the tests that want more than python3 skip themselves.
setup_python_packages() {
    setup_venv
    PYTHON=$PWD/$VENV/bin/python
    if cmp -s scripts/requirements-tests.txt $VENV/installed.txt; then
        say python "all there"
    elif $VENV/bin/python -m pip install -q --disable-pip-version-check -r scripts/requirements-tests.txt \
        >"$LOGS/pip.log" 2>&1 </dev/null; then
        cp scripts/requirements-tests.txt $VENV/installed.txt
        say python "packages for the tests installed in $VENV"
    else
        say python "NOT installed, see $LOGS/pip.log: tests that want numpy or gguf are skipped"
    fi
}

# ---- model ------------------------------------------------------------------------------------------

# setup_model: fetches it unless it is there; false when it cannot be had
setup_model() {
    if python3 scripts/fetch_model.py --check smollm2 >/dev/null 2>&1; then
        say model "$MODEL is there, checksum right"
        return 0
    fi
    setup_venv
    say model "fetching SmolLM2-135M-Instruct (98 MB)"
    $VENV/bin/python scripts/fetch_model.py smollm2 >"$LOGS/model.log" 2>&1 </dev/null
}

# setup_vocabulary: Llama 3's tokens, which one group of the tokenizers' tests compares; without them that is left out
setup_vocabulary() {
    if python3 scripts/fetch_model.py --check llama3-vocabulary >/dev/null 2>&1; then
        say vocabulary "Llama 3's is there, checksum right"
    elif setup_venv && $VENV/bin/python scripts/fetch_model.py llama3-vocabulary >"$LOGS/vocabulary.log" 2>&1 </dev/null; then
        say vocabulary "Llama 3's fetched (2 MB)"
    else
        say vocabulary "Llama 3's NOT there, see $LOGS/vocabulary.log: its tokenizer is not compared"
    fi
}

# ---- build ------------------------------------------------------------------------------------------

# configure_and_build PRESET TARGET [CMAKE OPTION...]
configure_and_build() {
    preset=$1
    target=$2
    shift 2
    {
        cmake --preset "$preset" "$@" && cmake --build "build/$preset" --target "$target"
    } >"$LOGS/build-$preset.log" 2>&1 </dev/null
}
