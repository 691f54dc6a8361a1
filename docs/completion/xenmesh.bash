# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bash completion for xenmesh(1).  Commands and options are a table; names of
# VMs, services, tasks and methods are asked of the program itself, which gets a
# second for it and no chance to say why it could not.
#
# Nothing that a service answers is expanded by the shell: words are compared
# and offered as they are, and a VM whose name is no plain word is offered by
# its UUID.

# The words after GROUP; without one, those after xenmesh.
_xenmesh_words()
{
	case ${1-} in
	"") printf '%s\n' vm host top events task metrics guest bus ;;
	vm) printf '%s\n' list show define undefine start shutdown reboot destroy pause unpause ;;
	host) printf '%s\n' show ;;
	task) printf '%s\n' list show wait cancel ;;
	metrics) printf '%s\n' list query ;;
	guest) printf '%s\n' list show ;;
	bus) printf '%s\n' ls ping describe call stats log-level ;;
	esac
}

# The options of COMMAND, without the global ones.
_xenmesh_options()
{
	case $1 in
	"vm define") printf '%s\n' --format --dry-run --replace ;;
	"vm start") printf '%s\n' --paused --no-wait ;;
	"vm shutdown" | "vm reboot") printf '%s\n' --deadline --force --no-wait ;;
	"vm destroy" | "vm pause" | "vm unpause") printf '%s\n' --no-wait ;;
	top) printf '%s\n' --batch --frames --delay --sort ;;
	events) printf '%s\n' --service --count --for --live --field ;;
	"task list") printf '%s\n' --active ;;
	"metrics query") printf '%s\n' --start --end --interval --cf ;;
	"bus ping") printf '%s\n' -c ;;
	"bus call") printf '%s\n' --data --service --dry-run ;;
	esac
	printf '%s\n' --json --timeout --topology --request-id --debug --help
}

# True when the next word is the option's value.
_xenmesh_takes_value()
{
	case $1 in
	--timeout | --topology | --request-id | --format | --deadline | --frames | --delay | \
		--sort | --service | --count | --for | --field | --start | --end | --interval | \
		--cf | --data | -n | -d | -s | -c) return 0 ;;
	esac
	return 1
}

# Asks xenmesh, with the topology of the command line that is being written.
_xenmesh_ask()
{
	timeout 1 "$program" ${topology:+--topology "$topology"} "$@" 2>/dev/null </dev/null
}

_xenmesh_vms()
{
	local uuid name

	_xenmesh_ask vm list --json --timeout 1s |
		sed -n 's/^{"uuid":"\([0-9a-f-]*\)","name":"\([^"]*\)".*/\1 \2/p' |
		while read -r uuid name; do
			case $name in
			"" | *[!A-Za-z0-9._+-]*) printf '%s\n' "$uuid" ;;
			*) printf '%s\n' "$name" ;;
			esac
		done
}

# One that is away makes the listing wait, so each gets less than the whole second.
_xenmesh_services()
{
	_xenmesh_ask bus ls --json --timeout 300ms |
		sed -n 's/^{"service":"\([A-Za-z0-9._/-]*\)".*/\1/p'
}

_xenmesh_tasks()
{
	_xenmesh_ask task list --json --timeout 1s | sed -n 's/^{"id":"\([0-9a-f-]*\)".*/\1/p'
}

# StartVm, Ops/StartVm or xenmesh.v1.Ops/StartVm: the form of what is written already.
_xenmesh_methods()
{
	local part='s/^[A-Za-z0-9._]*\/\([A-Za-z0-9]*\) .*/\1/p'

	case $cur in
	*.*) part='s/^\([A-Za-z0-9._]*\/[A-Za-z0-9]*\) .*/\1/p' ;;
	*/*) part='s/^[A-Za-z0-9._]*\.\([A-Za-z0-9]*\/[A-Za-z0-9]*\) .*/\1/p' ;;
	esac
	_xenmesh_ask bus describe | sed -n "$part"
}

# FIELD= of the method's request, which is the first message that is described.
_xenmesh_fields()
{
	_xenmesh_ask bus describe "$1" |
		sed -n '/^message /{
			n
			:field
			s/^  .* \([a-z0-9_]*\) = [0-9]*.*$/\1=/p
			n
			/^  /b field
			q
		}'
}

# Those lines of standard input that begin with what is written already.
_xenmesh_offer()
{
	local line

	while IFS= read -r line; do
		if [[ $line == "$cur"* ]]; then
			COMPREPLY+=("$line")
		fi
	done
}

_xenmesh_files()
{
	mapfile -t COMPREPLY < <(compgen -f -- "$cur" 2>/dev/null)
	compopt -o filenames 2>/dev/null
}

_xenmesh_value()
{
	case $1 in
	--topology) _xenmesh_files ;;
	--service) _xenmesh_offer < <(_xenmesh_services) ;;
	--format) _xenmesh_offer < <(printf '%s\n' vm xl json) ;;
	--sort) _xenmesh_offer < <(printf '%s\n' cpu mem net vbd name domid) ;;
	--cf) _xenmesh_offer < <(printf '%s\n' avg min max) ;;
	--interval) _xenmesh_offer < <(printf '%s\n' 5 60 3600 86400) ;;
	vm) _xenmesh_offer < <(_xenmesh_vms) ;; # bus call METHOD vm=
	esac
}

# COMMAND's next argument; those before it follow.
_xenmesh_argument()
{
	local n=$(($# - 1))

	case $1 in
	"vm define")
		((n)) || _xenmesh_files
		;;
	"vm show" | "guest show" | "task list")
		((n)) || _xenmesh_offer < <(_xenmesh_vms)
		;;
	"vm list" | "guest list") ;;
	vm\ *) _xenmesh_offer < <(_xenmesh_vms) ;;
	"metrics list" | "metrics query")
		((n)) || _xenmesh_offer < <(
			echo host
			_xenmesh_vms
		)
		;;
	events) _xenmesh_offer < <(printf '%s\n' vm/ host/ task/) ;;
	task\ *)
		((n)) || _xenmesh_offer < <(_xenmesh_tasks)
		;;
	"bus ping") _xenmesh_offer < <(_xenmesh_services) ;;
	"bus stats")
		((n)) || _xenmesh_offer < <(_xenmesh_services)
		;;
	"bus log-level")
		case $n in
		0) _xenmesh_offer < <(_xenmesh_services) ;;
		1) _xenmesh_offer < <(printf '%s\n' error warning info debug) ;;
		esac
		;;
	"bus describe")
		((n)) || _xenmesh_offer < <(
			_xenmesh_services
			_xenmesh_methods
		)
		;;
	"bus call")
		if ((n)); then
			_xenmesh_offer < <(_xenmesh_fields "$2")
			compopt -o nospace 2>/dev/null
		else
			_xenmesh_offer < <(_xenmesh_methods)
		fi
		;;
	esac
}

# Sets words, those that are neither options nor their values, topology, and
# previous, the option whose value is being written.
_xenmesh_scan()
{
	local i word

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if _xenmesh_takes_value "$word"; then
			# "--name value" or, as bash cuts it, "--name = value"
			[[ ${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
			((++i >= COMP_CWORD)) && previous=$word
			[[ $word == --topology && -z $previous ]] && topology=${COMP_WORDS[i]}
		elif [[ $word == "=" ]]; then
			((++i >= COMP_CWORD)) && previous=${COMP_WORDS[COMP_CWORD - 2]}
		elif [[ $word != -* ]]; then
			words+=("$word")
		fi
	done
	if [[ $cur == "=" ]]; then
		cur=""
		previous=${COMP_WORDS[COMP_CWORD - 1]}
	fi
}

_xenmesh()
{
	local IFS=$' \t\n' cur=${COMP_WORDS[COMP_CWORD]} previous="" topology=""
	local program=${COMP_WORDS[0]/#\~\//$HOME/}
	local -a words=()

	COMPREPLY=()
	_xenmesh_scan
	if [[ $previous ]]; then
		_xenmesh_value "$previous"
		return 0
	fi
	if [[ ${words[0]-} != top && ${words[0]-} != events ]]; then
		words=("${words[*]:0:2}" "${words[@]:2}") # the command has two words
	fi
	if [[ $cur == -* ]]; then
		_xenmesh_offer < <(_xenmesh_options "${words[0]}")
	elif [[ ${words[0]} == *" "* || ${words[0]} == top || ${words[0]} == events ]]; then
		_xenmesh_argument "${words[@]}"
	else
		_xenmesh_offer < <(_xenmesh_words "${words[0]}")
	fi
	return 0
}

complete -F _xenmesh xenmesh
