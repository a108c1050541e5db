# SPDX-License-Identifier: MIT
# bash completion for reader-ctl: verbs, their options, and readers by name or instance.

# Reader names hold blanks: each is offered whole, quoted as the shell needs it.
_reader_ctl_readers() {
	local name
	while IFS= read -r name; do
		[[ $name == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
	done < <(reader-ctl list 2>/dev/null; _reader_ctl_instances)
}

_reader_ctl_instances() {
	local file
	for file in /run/ifdhandler/*.reader "${XDG_RUNTIME_DIR:-/nonexistent}"/ifdhandler/*.reader \
		/run/ifdhandler/detached/*; do
		[[ -e $file ]] || continue
		file=${file##*/}
		printf '%s\n' "${file%.reader}"
	done
}

_reader_ctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= i at=0
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} != -* ]]; then
			verb=${COMP_WORDS[i]} at=$i
			break
		fi
	done
	case $prev in
	--card) COMPREPLY=($(compgen -W "builtin unix: tcp:" -- "$cur")); return ;;
	--protocol) COMPREPLY=($(compgen -W "any raw T=0 T=1" -- "$cur")); return ;;
	--driver) COMPREPLY=($(compgen -W "ccid" -- "$cur")); return ;;
	--timeout | --count) return ;;
	esac
	if [[ -z $verb ]]; then
		COMPREPLY=($(compgen -W "init shutdown list status attach detach monitor apdu run --json --help --version" -- "$cur"))
		return
	fi
	if [[ $verb == run ]]; then
		COMPREPLY=($(compgen -c -f -- "$cur"))
		return
	fi
	if [[ $cur == -* ]]; then
		local options=--help
		case $verb in
		init | shutdown | detach) options+=" --timeout" ;;
		list) options+=" --json --verbose" ;;
		status) options+=" --json" ;;
		attach) options+=" --json --timeout --card --driver" ;;
		monitor) options+=" --json --timeout --count --initial" ;;
		apdu) options+=" --json --timeout --exclusive --protocol" ;;
		esac
		COMPREPLY=($(compgen -W "$options" -- "$cur"))
		return
	fi
	case $verb in
	status | detach) _reader_ctl_readers "$cur" ;;
	apdu) ((COMP_CWORD == at + 1)) && _reader_ctl_readers "$cur" ;;
	attach)
		_reader_ctl_readers "$cur"
		COMPREPLY+=($(compgen -W virtual -- "$cur"))
		;;
	esac
}

complete -F _reader_ctl reader-ctl
