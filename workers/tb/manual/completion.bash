# shellcheck shell=bash
# shellcheck disable=SC2207 # what is offered has no blanks, and parts at line ends where it has
# Runs no program of ours: names of streams and backups are read from the repository's file names.

# The repository that a command line means: --repo, or the one below --dir or TB_DIR.
_tb_repository()
{
	local i dir=${TB_DIR:-} repository=''
	for ((i = 1; i + 1 < ${#COMP_WORDS[@]}; i++)); do
		local value=${COMP_WORDS[i + 1]}
		[ "$value" != = ] || value=${COMP_WORDS[i + 2]:-}
		case ${COMP_WORDS[i]} in
		--dir | -d) dir=$value ;;
		--repo | -r) repository=$value ;;
		esac
	done
	[ -n "$repository" ] || repository=$dir/repository
	printf '%s' "${repository/#\~/$HOME}"
}

_tb_streams()
{
	local folder
	for folder in "$(_tb_repository)"/manifests/*/; do
		folder=${folder%/}
		[ ! -d "$folder" ] || printf '%s ' "${folder##*/}"
	done
}

_tb_backups()
{
	local file
	for file in "$(_tb_repository)"/manifests/*/*-FUL-*; do
		[ ! -f "$file" ] || printf '%s ' "${file##*-}"
	done
}

# _tb_complete BY WORD
_tb_complete()
{
	local IFS=$' \t\n'
	case $1 in
	words\ *) COMPREPLY+=($(compgen -W "${1#words }" -- "$2")) ;;
	stream) COMPREPLY+=($(compgen -W "$(_tb_streams)" -- "$2")) ;;
	backup) COMPREPLY+=($(compgen -W "$(_tb_backups)" -- "$2")) ;;
	kind) COMPREPLY+=($(compgen -W "$_tb_kinds" -- "$2")) ;;
	topic) COMPREPLY+=($(compgen -W "BACKUP_READY health events $_tb_kinds" -- "$2")) ;;
	target)
		COMPREPLY+=($(compgen -W 'json: json:- lmdb: null:' -- "$2"))
		compopt -o nospace 2>/dev/null ;;
	dir | file)
		IFS=$'\n'
		compopt -o filenames 2>/dev/null
		COMPREPLY+=($(compgen -A "${1/dir/directory}" -- "$2")) ;;
	esac
}

# _tb_operand VERB WORD: a word that the verb begins with, or, where it has none or one was typed, a value
_tb_operand()
{
	local operand literals='' values=''
	for operand in $(_tb_operands "$1"); do
		case $operand in
		@*) values+=" ${operand#@}" ;;
		*) literals+=" $operand" ;;
		esac
	done
	for operand in $literals; do
		[[ " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" $operand "* ]] || literals=''
	done
	if [ -n "$literals" ]; then
		_tb_complete "words$literals" "$2"
		return
	fi
	for operand in $values; do
		_tb_complete "$operand" "$2"
	done
}

_tb()
{
	local word=${COMP_WORDS[COMP_CWORD]} of=${COMP_WORDS[0]##*/} at=$((COMP_CWORD - 1)) verb_at=1 by
	COMPREPLY=()
	if [ "$of" = tb ]; then
		[ "${COMP_WORDS[1]}" != help ] || verb_at=2
		of=${COMP_WORDS[verb_at]:-}
		if [ "$COMP_CWORD" -le $verb_at ]; then
			_tb_complete "words $_tb_verbs --help --version" "$word"
			return
		fi
	fi
	# readline parts words at '=' and ':', so that --to=json:FILE is five of them
	case $word in = | :) word='' at=$COMP_CWORD ;; esac
	if [ "${COMP_WORDS[at]}" = : ]; then
		_tb_complete file "$word"
		return
	fi
	[ "${COMP_WORDS[at]}" != = ] || at=$((at - 1))
	by=$(_tb_value "$of:${COMP_WORDS[at]}")
	if [ -n "$by" ]; then
		_tb_complete "$by" "$word"
	elif [[ $word == -* ]]; then
		_tb_complete "words $(_tb_options "$of")" "$word"
	else
		_tb_operand "$of" "$word"
	fi
}
