#!/usr/bin/env bash
# The Debian package: built by deploy/package, installed by apt with what it depends on into a bare Debian of the script's
# own (debootstrap, chroot), run there, and removed without a trace. Needs root and a Debian mirror: the one that apt here
# is told of.
. "$(dirname "$0")/lib.sh"

claims=7
bare=$work/debian
export DPKG_FORCE=unsafe-io # it is thrown away in the end

# The mirror and the release that apt here uses: "URI CODENAME".
mirror()
{
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(LABEL) $(COMPONENT)' 'Created-By: Packages' |
		awk '$3 == "Debian" && $4 == "main" && $2 !~ /-/ { print $1, $2; exit }'
}

why_not()
{
	if [ "$(id -u)" -ne 0 ]; then
		echo "needs root"
	elif ! command -v debootstrap >/dev/null; then
		echo "there is no debootstrap"
	elif [ -z "$(mirror)" ]; then
		echo "apt knows no Debian mirror here"
	else
		return 1
	fi
}

builds()
{
	package=$("$root/deploy/package" | tail -n 1) && [ -s "$package" ] && echo "note: $(basename "$package")"
}

is_described()
{
	dpkg-deb --info "$package" >"$work/info" && cat "$work/info" &&
		grep -q '^ Package: tradebank$' "$work/info" && grep -q '^ Depends: .*libnng1.*libsodium' "$work/info"
}

# What was fetched stays in the build, for the next time.
makes_a_debian()
{
	local uri codename cache=$root/build/debootstrap
	read -r uri codename < <(mirror)
	mkdir -p "$cache" && debootstrap --variant=minbase --cache-dir="$cache" "$codename" "$bare" "$uri" >"$work/debootstrap.log" ||
		{ tail -n 20 "$work/debootstrap.log"; return 1; }
	cp /etc/resolv.conf "$bare/etc/resolv.conf"
}

inside() # COMMAND…
{
	env -i DPKG_FORCE=$DPKG_FORCE PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
		chroot "$bare" "$@" </dev/null
}

files()
{
	(cd "$bare" && find . -xdev ! -type d ! -path './var/lib/*' ! -path './var/log/*' ! -path './var/cache/*' ! -path './root/*' \
		! -name ld.so.cache | sort)
}

installs()
{
	files >"$work/before"
	cp "$package" "$bare/root/tradebank.deb"
	inside apt-get install -qq -y --no-install-recommends /root/tradebank.deb >"$work/apt.log" 2>&1 ||
		{ tail -n 20 "$work/apt.log"; return 1; }
	inside ldconfig -p | grep 'libtb\.so\.0 '
}

runs()
{
	local program
	for program in tb tb-broker tb-collector tb-sealer tb-storer tb-signal; do
		inside "$program" --version | grep "^$program [0-9]" || return
	done
}

makes_and_verifies()
{
	inside tb init --dir /srv/tradebank && inside tb verify --dir /srv/tradebank
}

# Gone is what it brought; what it depends on may stay until apt is told, and what it made is the operator's.
removes()
{
	inside apt-get purge -qq -y tradebank >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log"; return 1; }
	inside apt-get autoremove --purge -qq -y >>"$work/apt.log" 2>&1 || return
	files | grep -v '^\./srv/tradebank/' >"$work/after"
	! grep -q 'warning' "$work/apt.log" && diff "$work/before" "$work/after" && [ -e "$bare/srv/tradebank/keys/identity.key" ] &&
		! inside ldconfig -p | grep libtb && [ ! -d "$bare/usr/include/tb" ] && [ ! -d "$bare/usr/share/doc/tradebank" ]
}

if reason=$(why_not); then
	skip $claims "the Debian package installs, runs and goes" "$reason"
	end
	exit
fi
claim "the package is built" builds || { end; exit 1; }
claim "it says what it is and what it needs" is_described
claim "a bare Debian is made" makes_a_debian || { end; exit 1; }
claim "it installs there, with what it depends on" installs
claim "its programs run" runs
claim "it makes an instance and verifies it" makes_and_verifies
claim "it goes without a trace, and leaves the instance alone" removes
end
