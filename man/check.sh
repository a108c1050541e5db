#!/bin/sh
# SPDX-License-Identifier: MIT
# The manual pages say all there is, and nothing that there is not: their lists are compared with the sources'. TAP.
cd "$(dirname "$0")/.." || exit 1
n=0 failed=0

# say NAME WORDS: the test has passed if there are no words.
say() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1:" $2
		failed=1
	fi
}

skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# A page without escapes and fonts, lines that were broken joined.
plain() {
	sed -e ':join' -e '/\\$/{N;s/\\\n//;b join' -e '}' -e 's/\\-/-/g' -e 's/\\f[BIRP]//g' -e 's/\\[&e]//g' "$1"
}

# tagged PAGE: the lines after each .TP.
tagged() {
	plain "$1" | grep -A1 '^\.TP'
}

# part PAGE HEADING: from that heading to the next.
part() {
	plain "$1" | sed "1,/^\\.SH $2/d;/^\\.SH/,\$d"
}

# each TITLE WORDS COMMAND: there are words, and each is one in what COMMAND prints.
each() {
	eval "$3" >"$tmp/found"
	bad=
	for w in $2; do
		grep -qw -e "$w" "$tmp/found" || bad="$bad $w"
	done
	[ -n "$2" ] || bad="the list is empty"
	say "$1" "$bad"
}

# compare TITLE EXPECTED FOUND: the same words, once each, and at least one.
compare() {
	[ -n "$2" ] || { say "$1" "the source's list is empty"; return; }
	for w in $2; do echo "$w"; done | sort >"$tmp/expected"
	for w in $3; do echo "$w"; done | sort >"$tmp/found"
	say "$1" "$(diff "$tmp/expected" "$tmp/found" | sed -n -e 's/^< /missing: /p' -e 's/^> /too much: /p')"
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# ---- the library ----

symbols=$(sed -n '/^global:/,/^local:/s/^[[:space:]]*\([A-Za-z_0-9]*\);/\1/p' client/client.sym)
synopses=$(for p in man/*.3; do
	plain "$p" | sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/p'
done | grep -oE '(SCard[A-Za-z]+|pcsc_[a-z_]+)\(|g_rgSCard[A-Za-z0-9]+' | tr -d '(')
compare "every function of the library has its synopsis" "$symbols" "$synopses"

names=$(for p in man/*.3; do plain "$p" | sed -n '/^\.SH NAME/{n;s/ - .*//;s/,/ /g;p;}'; done)
compare "every function of the library is in the name of a page" \
	"winscard $(echo "$symbols" | grep -v '^g_')" "$names"

each "every constant in the pages is one of the headers" \
	"$(cat man/*.3 man/*.7 | grep -oE '\bSCARD_[A-Z0-9_]+' | sort -u)" 'cat client/*.h'

each "winscard.3 has every variable that the library reads" \
	"$(grep -ohE 'getenv\("[A-Z_]+"\)' client/*.c wire/*.c | cut -d'"' -f2 | sort -u)" 'tagged man/winscard.3'

# ---- reader-ctl ----

verbs=$(sed -n 's/^	{ "\([a-z]*\)", [a-z]*_run,.*/\1/p' ctl/main.c)
compare "reader-ctl.1 has every verb, and no other" "$verbs" \
	"$(plain man/reader-ctl.1 | sed -n '/^\.SH VERBS/,/^\.SH OPTIONS/s/^\.SS //p')"

options=$(sed -n 's/^	{ "\([a-z]*\)", [a-z]*_argument.*/--\1/p' ctl/main.c)
compare "reader-ctl.1 has every option, and no other" "$options" \
	"$(part man/reader-ctl.1 OPTIONS | grep -A1 '^\.TP' | grep -oE -- '--[a-z]+')"

each "reader-ctl.1 has every variable that it reads" \
	"$(grep -ohE 'getenv\("[A-Z_]+"\)' ctl/*.c | cut -d'"' -f2 | sort -u)" 'tagged man/reader-ctl.1'

# ---- ifdhandler ----

options=$(sed -n 's/^		{ "\([a-z]*\)", [a-z]*_argument.*/--\1/p' ifdhandler/main.c)
compare "ifdhandler.8 has every option, and no other" "$options" \
	"$(part man/ifdhandler.8 OPTIONS | grep -A1 '^\.TP' | grep -oE -- '--[a-z]+')"
help=$(sed -n '/^static void usage/,/^}/p' ifdhandler/main.c | grep -oE '"  (--[a-z]+(, )?)+' | grep -oE -- '--[a-z]+')
compare "ifdhandler --help has the same" "$options" "$help"

each "ifdhandler.8 has every variable that it reads" \
	"$(grep -ohE 'getenv\("[A-Z_]+"\)' ifdhandler/*.c | cut -d'"' -f2 | sort -u)" 'tagged man/ifdhandler.8'

words=$(sed -n -e 's/^	{ "\([a-z=-]*\)", .*/\1/p' -e 's/^	\[QUIRK_[A-Z_]*\] = "\([a-z-]*\)",/\1/p' \
	-e 's/^	\[CCID_LEVEL_[A-Z]*\] = "\(level=[a-z]*\)",/\1/p' \
	-e 's/.*word_number(word, "\(hide-interface=\)".*/\1/p' ifdhandler/ccid/quirk.c)
compare "ifdhandler-properties.5 has every quirk, and no other" "$words" \
	"$(part man/ifdhandler-properties.5 QUIRKS | grep -A1 '^\.TP' |
		grep -E '^\.B' | sed 's/^\.[BIR]* //;s/"[ ,]*"*/ /g;s/= [A-Z]*$/=/')"

properties=$(grep -ohE 'IFDHANDLER_(DRIVER|NAME|QUIRKS|IGNORE|[A-Z]+)' ifdhandler/device.c udev/*.rules | sort -u)
compare "ifdhandler-properties.5 has every property, and no other" "$properties" \
	"$(part man/ifdhandler-properties.5 PROPERTIES | grep -A1 '^\.TP' |
		grep -oE 'IFDHANDLER_[A-Z]+')"

# ---- the protocol ----

messages=$(sed -e '/^\/\*/d' -e '/^ \*/d' wire/messages.def | tr -s '\n\t' ' ' | sed 's/ *MESSAGE(/\n&/g' |
	sed -n 's/^ *MESSAGE(\([A-Z_]*\), *[a-z_]*, *\(0x[0-9A-F]*\), *\(.*\), *[A-Z_0-9]*) *$/\1,\2 \3/p' |
	sed -e 's/FIELD(\([a-z0-9]*\), *\([a-z_]*\))/\1:\2/g' -e 's/[ ,]*$//' -e 's/  */;/g')
found=$(plain man/ifdhandler-wire.7 | grep -E '^\.B [A-Z_]+, 0x' | sed -e 's/^\.B //' -e 's/; tail:.*//' -e 's/: */;/' |
	sed -e 's/, 0x/,0x/' -e 's/, \(u[0-9]*\) /;\1 /g' -e 's/\(u[0-9]*\) /\1:/g')
compare "ifdhandler-wire.7 has every message with number and fields, and no other" "$messages" "$found"

outcomes=$(sed -n 's/^STATUS(\([A-Z_]*\), \([0-9]*\), ".*", \(SCARD_[A-Z_]*\))$/\1,\2,\3/p' wire/status.def)
found=$(part man/ifdhandler-wire.7 OUTCOMES | awk '
	/^\.SS/ { put(); common = "" }
	/^\.SS The reader/ { common = "SCARD_E_READER_UNAVAILABLE" }
	function put() { if (name) print name "," (code ? code : common ? common : "SCARD_S_SUCCESS"); name = code = "" }
	/^\.BR [A-Z_]+ ", [0-9]+"/ { put(); gsub(/"| /, ""); sub(/^\.BR/, ""); name = $0 }
	/^\.B SCARD/ { code = $2 }
	END { put() }')
compare "ifdhandler-wire.7 has every outcome with number and code, and no other" "$outcomes" "$found"

# ---- all pages ----

bad=
for p in man/*.[1-8]; do
	for r in $(plain "$p" | grep -oE '(SCard[A-Za-z]+|pcsc_[a-z_]+|winscard|reader-ctl|ifdhandler(-[a-z]+)?) ?"?\([1-8]\)' | tr -d ' "'); do
		name=${r%(*} section=${r#*(}
		cat man/*."${section%)}" 2>/dev/null | sed 's/\\-/-/g' | grep -A1 '^\.SH NAME' | sed 's/ - .*//' |
			grep -qE "(^|[ ,])$name([ ,]|$)" || bad="$bad $p:$r"
	done
done
say "pages refer to pages that exist" "$bad"

version=$(sed -n 's/^AC_INIT(\[ifdhandler\], \[\(.*\)\])/\1/p' configure.ac)
say "pages bear the version $version" "$(grep -L "^\.TH .*\"ifdhandler $version\"" man/*.[1-8])"

# lint TOOL COMMAND…: it has nothing to say about any page.
lint() {
	tool=$1
	if ! command -v "$tool" >/dev/null; then
		skip "$tool finds nothing" "$tool is not installed"
		return
	fi
	bad=
	for p in man/*.[1-8]; do
		[ -z "$("$@" "$p" 2>&1)" ] || bad="$bad $p"
	done
	say "$tool finds nothing" "$bad"
}
lint groff -man -ww -Tutf8 -z
lint mandoc -T lint -W warning

echo "1..$n"
exit $failed
