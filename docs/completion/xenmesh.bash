# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bash completion for xenmesh(1).  The program itself says what may stand there:
# `xenmesh __complete -- WORD... CURRENT`; it gets a second for it and no chance
# to say why it could not.
#
# Nothing that it answers is expanded by the shell, and words with other than
# harmless characters are left out.

_xenmesh()
{
	local IFS=$' \t\n' program=${COMP_WORDS[0]/#\~\//$HOME/}
	local i word line cut last glue="" files=""
	local -a words=()

	COMPREPLY=()
	# bash cuts words at = : and @.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((${#words[@]})) && [[ $glue || $word == [=:]* ]]; then
			words[-1]+=$word
		else
			words+=("$word")
		fi
		[[ $word == [=:@] ]] && glue=1 || glue=""
	done
	last=$word
	[[ $last == [=:@] ]] && last=""
	cut=${words[-1]%"$last"}
	while IFS= read -r line; do
		line=${line%%$'\t'*}
		case $line in
		:files) files=1 ;;
		:nospace) compopt -o nospace 2>/dev/null ;;
		*[!A-Za-z0-9._/=+:@,\[\]-]*) ;;
		"${words[-1]}"*) COMPREPLY+=("${line#"$cut"}") ;;
		esac
	done < <(timeout 1 "$program" __complete -- "${words[@]}" 2>/dev/null </dev/null)
	if [[ $files ]]; then
		while IFS= read -r line; do
			COMPREPLY+=("$line")
		done < <(compgen -f -- "$last" 2>/dev/null)
		compopt -o filenames 2>/dev/null
	fi
	return 0
}

complete -F _xenmesh xenmesh
