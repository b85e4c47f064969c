# shellcheck shell=bash
# Packages of Debian 12, and how the missing ones are installed. Sourced by build and test.

# shellcheck disable=SC2034 # for those who source this
build_packages=(gcc libc6-dev cmake ninja-build pkg-config libnng-dev libprotobuf-c-dev protobuf-c-compiler libzstd-dev
	libsodium-dev liblmdb-dev libjansson-dev libyaml-dev libssl-dev libxxhash-dev libical-dev
	tzdata) # zones of market calendars, for tests
# shellcheck disable=SC2034
test_packages=(g++ libcriterion-dev python3 procps)
# shellcheck disable=SC2034
more_test_packages=(
	iproute2                                        # to make hosts of namespaces
	zstd nng-utils                                  # to unpack recordings, and to subscribe without anything of ours
	python3-zstandard python3-nacl                  # to read a repository without anything of ours
	make groff man-db file binutils dpkg-dev debootstrap # to install, read manuals, and try the package in a fresh system
)

is_installed()
{
	[ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

# install_missing PACKAGE…: nothing to do, nothing asked. Elsewhere than on Debian the build says what it misses.
install_missing()
{
	local package missing=() as=()
	command -v dpkg-query >/dev/null || return 0
	for package in "$@"; do
		is_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
			return 1
		fi
		as=(sudo)
	fi
	echo "installing ${missing[*]}" >&2
	"${as[@]}" apt-get update -qq >/dev/null &&
		"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}
