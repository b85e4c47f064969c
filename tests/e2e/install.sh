#!/usr/bin/env bash
# What `cmake --install` leaves is enough: the programs run from there, a program of somebody's builds against it in C and
# C++ with pkg-config and with CMake, the library shows what its headers declare and nothing else, the manual is clean,
# and bash completes.
#
# The build whose programs TB_BIN names is installed, into a folder of the script's own.
. "$(dirname "$0")/lib.sh"

build=$(cd "$TB_BIN/.." && pwd)
prefix=$work/prefix
consumer=$root/docs/examples/consumer

installs()
{
	cmake --build "$build" --target installable -- -j2 >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; return 1; }
	cmake --install "$build" --prefix "$prefix" >"$work/install.log" || return
	libdir=$(cd "$(dirname "$(find "$prefix" -name libtb.a)")" && pwd)
	mandir=$prefix/share/man
	completion=$prefix/share/bash-completion/completions/tb
}

installs_below_destdir()
{
	DESTDIR=$work/destdir cmake --install "$build" >"$work/destdir.log" || return
	same "$(find "$work/destdir" -type f -o -type l | wc -l)" "$(find "$prefix" -type f -o -type l | wc -l)"
}

# Each of these is there and isn't empty.
is_there()
{
	local file
	for file in bin/{tb,tb-broker,tb-collector,tb-sealer,tb-storer,tb-signal} include/tb/{errors,events,publish,restore}.h \
		share/man/man1/{tb,tb-broker,tb-collector,tb-sealer,tb-storer,tb-signal}.1 share/man/man5/tb.yaml.5 \
		share/bash-completion/completions/{tb,tb-broker} share/doc/*/{README,FORMAT,OPERATING}.md \
		share/tradebank/calendars/{co-fx,24x7}.yaml; do
		compgen -G "$prefix/$file" >/dev/null && [ -s "$(compgen -G "$prefix/$file" | head -n 1)" ] ||
			{ echo "no $file"; return 1; }
	done
	for file in libtb.so libtb.a pkgconfig/tradebank.pc cmake/Tradebank/TradebankConfig.cmake; do
		[ -s "$libdir/$file" ] || { echo "no $file"; return 1; }
	done
}

# Nothing installed knows where it was built, apart from where in the source an assertion or a symbol came from.
knows_no_build()
{
	! grep -rIl -e "$build" -e "$prefix" "$prefix"
}

declared()
{
	gcc -E -I"$prefix/include" -include tb/errors.h -include tb/events.h -include tb/publish.h -include tb/restore.h \
		-x c /dev/null | grep -v '^#' | tr '\n' ' ' | grep -o '\<tb_[a-z0-9_]* *([^*]' | sed 's/ *(.*//' | sort -u
}

exported()
{
	nm -D --defined-only "$libdir/libtb.so" | awk '$2 != "A" { print $3 }' | sort
}

shows_what_is_declared()
{
	declared >"$work/declared"
	exported | sed 's/@@.*//' >"$work/exported"
	diff "$work/declared" "$work/exported" && echo "note: $(lines "$work/exported") functions"
}

has_versions()
{
	[ -n "$(exported)" ] && ! exported | grep -v '@@TRADEBANK_0\.[0-9]*$'
}

has_soname()
{
	readelf -d "$libdir/libtb.so" | grep -q 'SONAME.*\[libtb\.so\.0\]' && [ -L "$libdir/libtb.so.0" ]
}

# Programs carry the library in them: they run without it.
needs_no_library()
{
	local program
	for program in "$prefix"/bin/*; do
		readelf -d "$program" | grep 'NEEDED.*libtb' && { echo "$program needs it"; return 1; }
		"$program" --version >/dev/null || return
	done
}

with_pkg_config()
{
	mkdir "$work/pkg-config" && cp "$consumer"/* "$work/pkg-config" || return
	PKG_CONFIG_PATH=$libdir/pkgconfig make -C "$work/pkg-config" CFLAGS='-Wall -Wextra -Werror' CXXFLAGS='-Wall -Wextra -Werror'
}

with_cmake()
{
	cmake -S "$consumer" -B "$work/with-cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS='-Wall -Wextra -Werror' \
		-DCMAKE_CXX_FLAGS='-Wall -Wextra -Werror' && cmake --build "$work/with-cmake"
}

with_the_archive()
{
	# shellcheck disable=SC2046 # flags
	gcc -o "$work/consumer-static" "$consumer/consumer.c" \
		$(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --cflags --static --libs tradebank | sed 's/-ltb /-l:libtb.a /') || return
	! readelf -d "$work/consumer-static" | grep 'NEEDED.*libtb'
}

another_version()
{
	sed 's/Tradebank 0.1/Tradebank 0.2/' "$consumer/CMakeLists.txt" >"$work/later.txt"
	mkdir "$work/later" && cp "$consumer"/*.c* "$work/later" && mv "$work/later.txt" "$work/later/CMakeLists.txt"
	! cmake -S "$work/later" -B "$work/later/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/later.log" 2>&1 &&
		grep -q 'version: 0.1' "$work/later.log"
}

installed_up()
{
	TB_BIN=$prefix/bin PATH=$prefix/bin:$PATH up "$work/tb"
}

# A day without one bar: exit code 1. Engines don't load what reads calendars.
knows_its_calendars()
{
	echo time | "$prefix/bin/tb" gaps --calendar co-fx --from 2026-01-05 --to 2026-01-05 --csv - --json >"$work/gaps"
	same "$?" 1 && same "$(json expected_bars <"$work/gaps")" 60 && ! ldd "$libdir/libtb.so" | grep ical
}

publishes_and_restores() # PROGRAM
{
	same "$(LD_LIBRARY_PATH=$libdir "$1" "$work/tb")" '{"key":"position:BTC","value":"0.50"}'
}

publishes_from_cxx() # PROGRAM
{
	LD_LIBRARY_PATH=$libdir "$1" "$work/tb" | grep 'is durable'
}

manual_is_clean()
{
	local page said
	for page in "$mandir"/man?/*; do
		said=$(groff -man -ww -z -Tutf8 "$page" 2>&1) && [ -z "$said" ] || { echo "$page: $said"; return 1; }
		if command -v man >/dev/null; then
			said=$(man -l --warnings "$page" 2>&1 >/dev/null) && [ -z "$said" ] || { echo "$page: $said"; return 1; }
		fi
	done
}

# Each verb and each of its options, as its own help has them.
manual_is_whole()
{
	local verb option
	groff -man -Tutf8 -P-cbou "$mandir/man1/tb.1" >"$work/tb.txt" 2>/dev/null || return
	tb --help | sed -n '/^not in this version/q; s/^  \([a-z]*\) .*/\1/p' >"$work/verbs"
	[ "$(lines "$work/verbs")" -gt 10 ] || return
	while read -r verb; do
		grep -q "tb $verb" "$work/tb.txt" || { echo "no $verb"; return 1; }
		for option in $(tb "$verb" --help | grep -o '^ .*  --[a-z-]*\|^  -., --[a-z-]*' | grep -o -- '--[a-z-]*'); do
			grep -q -- "$option" "$work/tb.txt" || { echo "no $option of $verb"; return 1; }
		done
	done <"$work/verbs"
}

# complete WORD…: what bash would offer behind these words, one a line; the last one is being typed.
complete_words()
{
	bash --norc --noprofile -c '
		. "$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		function=$(complete -p "$1" | sed "s/.*-F \([^ ]*\) .*/\1/")
		"$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
		printf "%s\n" "${COMPREPLY[@]}"' bash "$completion" "$@" | sort
}

offers() # EXPECTED WORD…
{
	local expected=$1
	shift
	same "$(complete_words "$@" | tr '\n' ' ' | sed 's/ $//')" "$expected"
}

completes()
{
	bash --norc --noprofile -c '. "$1"; complete -p tb tb-broker tb-sealer' bash "$completion" || return
	offers 'restore' tb res && offers 'backup' tb ba && offers 'status' tb help st &&
		offers '--event' tb restore --stream book --ev && offers '--dir --dry-run' tb restore --d &&
		offers 'accepted durable stored' tb publish --wait '' && offers 'durable' tb publish --wait = d &&
		offers 'full' tb backup --type fu && offers 'host list new' tb keys '' && offers 'ghost' tb events --kind gh &&
		offers 'BACKUP_READY' tb wait B && offers 'json: json:-' tb restore --to j &&
		offers '--journal-limit' tb-broker --journal-l && offers 'debug' tb-sealer --log-level d &&
		offers '' tb restore --event '' && offers '' tb nonsense --x
}

# Streams and backups come from the repository that is meant.
completes_names()
{
	local id
	id=$(tb backup --dir "$work/tb" --type full --stream consumer --wait) || return
	# A stream has a name in the repository once something of it is stored.
	await 10 test -d "$work/tb/repository/manifests/consumer-cxx" || return
	offers 'consumer consumer-cxx' tb restore --dir "$work/tb" --stream cons &&
		offers "$id" tb show --repo "$work/tb/repository" FUL &&
		offers "$id" tb restore -d "$work/tb" --backup FUL && offers '' tb restore --stream cons
}

moves()
{
	mv "$prefix" "$work/moved" || return
	PKG_CONFIG_PATH=${libdir/"$prefix"/"$work/moved"}/pkgconfig pkg-config --cflags --libs tradebank >"$work/flags" || return
	cat "$work/flags"
	! grep -F "$prefix" "$work/flags" && rm -rf "$work/with-cmake" &&
		cmake -S "$consumer" -B "$work/with-cmake" -DCMAKE_PREFIX_PATH="$work/moved" && cmake --build "$work/with-cmake"
}

if [ ! -e "$build/build.ninja" ]; then
	skip 1 "what is installed is enough" "$build isn't a build: TB_BIN is installed already"
	end
	exit
fi
claim "it installs" installs || { end; exit 1; }
claim "it installs below DESTDIR, too" installs_below_destdir
claim "all of it is there" is_there
claim "nothing in it points back at the build" knows_no_build
claim "the library shows the functions of its headers and nothing else" shows_what_is_declared
claim "each under a version" has_versions
claim "and says what it is called" has_soname
claim "programs run without the library" needs_no_library
claim "a consumer builds with pkg-config, in C and C++" with_pkg_config
claim "a consumer builds with CMake, in C and C++" with_cmake
claim "a consumer builds with the static library" with_the_archive
claim "one that wants a later version is told" another_version
claim "the installed programs start an instance" installed_up
claim "the installed command finds the shipped calendars" knows_its_calendars
claim "the consumer publishes and restores" publishes_and_restores "$work/pkg-config/consumer"
claim "so does the one built with CMake" publishes_and_restores "$work/with-cmake/consumer"
claim "so does the static one" publishes_and_restores "$work/consumer-static"
claim "the C++ one publishes" publishes_from_cxx "$work/pkg-config/consumer-cxx"
claim "manual pages are clean" manual_is_clean
claim "manual pages know each verb and option" manual_is_whole
claim "bash completes verbs, options and values" completes
claim "and names of streams and backups" completes_names
claim "it ends" down "$work/tb"
claim "the installed tree may be moved" moves
end
