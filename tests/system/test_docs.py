#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The documents say what the programs do: each man page names exactly the commands, options and exit statuses that
its program's --help names, pages render and refer to pages there are, and the completion of bash and zsh knows the
same words, asks nobody aloud, and survives services that are away and answers that are hostile."""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAN = os.path.join(ROOT, "docs/man")
COMPLETION = os.path.join(ROOT, "docs/completion/xenmesh.bash")
COMPLETION_ZSH = os.path.join(ROOT, "docs/completion/_xenmesh")
SERVICES = ("xenmesh-ops", "xenmesh-ops-host", "xenmesh-ops-worker", "xenmesh-metrics", "xenmesh-agent-bridge",
            "xenmesh-guest-agent", "xenmesh-simhost")
FORMATS = ("xenmesh-topology.conf.5", "xenmesh.vm.5")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
EVERYWHERE = {"--help", "--version"}
COMMAND_TIMEOUT_S = 20
# Completion gives xenmesh one second; the rest is for a busy machine.
COMPLETION_LIMIT_S = 6

DRIVER = r"""
set -u
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMPREPLY=()
_xenmesh
for reply in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do
	printf '%s\n' "$reply"
done
"""


# What compadd would have been given, without the widget that it needs.
DRIVER_ZSH = r"""
compadd() {
	local -a given
	[[ $argv[-2] == -a ]] && given=("${(@P)argv[-1]}")
	print -rl -- $given
}
compset() { : }
_files() { print -r -- :files }
source_file=$1
shift
words=("$@")
CURRENT=$#words
# A function of that name is what the file makes; it calls itself at its end.
set --
source $source_file
"""


class Tests:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, problems):
        """problems: sentences, none of them is a success."""
        if problems:
            self.failed += 1
            print("FAIL %s: %s" % (name, "; ".join(problems)))
        else:
            self.passed += 1
            print("ok %s" % name)
        sys.stdout.flush()

    def end(self):
        print("%d passed, %d failed" % (self.passed, self.failed))
        return 1 if self.failed else 0


def differences(documented, real, what, page):
    """Sentences for what is only on one side."""
    missing = ["%s %s is not in %s" % (what, word, page) for word in sorted(real - documented)]
    invented = ["%s %s of %s does not exist" % (what, word, page) for word in sorted(documented - real)]
    return missing + invented


def run(command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=COMMAND_TIMEOUT_S, check=False, **more)


def help_of(binary, words=()):
    result = run([binary, *words, "--help"])
    if result.returncode != 0:
        raise RuntimeError("%s --help exits with %d" % (" ".join([binary, *words]), result.returncode))
    return result.stdout


def exit_statuses(help_text):
    """Numbers of the paragraph that begins with "Exit status:"; empty when there is none."""
    found = re.search(r"^Exit status: (.*?)\.$", help_text, re.M | re.S)
    return set(re.findall(r"\b\d+\b", found[1])) if found else set()


# ---- man pages ----


def plain(line):
    """A line of a man page without its markup: macros that alternate fonts join their arguments."""
    if line.startswith("."):
        macro, _, rest = line[1:].partition(" ")
        arguments = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', rest)]
        line = ("" if len(macro) == 2 and macro != "SH" and macro != "SS" else " ").join(arguments)
    line = re.sub(r"\\f[A-Z]", "", line)
    return line.replace(r"\-", "-").replace(r"\&", "").replace(r"\~", " ").replace(r"\e", "\\")


class Page:
    """What tests want of a man page: its text and, for each section, the tags of its lists."""

    def __init__(self, name):
        self.name = name
        with open(os.path.join(MAN, name), encoding="utf-8") as f:
            lines = f.read().splitlines()
        self.sections = {}
        section, is_tag, texts = "", False, []
        for line in lines:
            if line.startswith('.\\"'):
                continue
            text = plain(line)
            texts.append(text)
            if line.startswith(".SH"):
                section = text
            elif is_tag:
                self.sections.setdefault(section, []).append(text)
            is_tag = line == ".TP"
        self.text = "\n".join(texts)

    def tags(self, section):
        return self.sections.get(section, [])

    def options(self, section):
        return {option for tag in self.tags(section) for option in OPTION.findall(tag)}

    def section_text(self, section):
        found = re.search(r"^%s$\n(.*?)(?=^[A-Z][A-Z ]+$|\Z)" % re.escape(section), self.text, re.M | re.S)
        return found[1] if found else ""


def check_service(tests, name, bin_dir):
    page = Page(name + ".8")
    text = help_of(os.path.join(bin_dir, name))
    tests.check("man_options_" + name, differences(
        page.options("OPTIONS") - EVERYWHERE, set(OPTION.findall(text)) - EVERYWHERE, "option", page.name))
    statuses = exit_statuses(text)
    documented = set(re.findall(r"\b\d+\b", page.section_text("EXIT STATUS")))
    tests.check("man_statuses_" + name, differences(documented, statuses, "exit status", page.name)
                if statuses else [] if documented else ["%s has no EXIT STATUS" % page.name])
    defaults = set(re.findall(r"\((?:default )?([^\s(),|]+)\)", text))
    tests.check("man_defaults_" + name, [
        "default %s is not in %s" % (word, page.name) for word in sorted(defaults)
        if not re.search(r"(?<![\w.])%s(?!\w)" % re.escape(word), page.text)])
    version = run([os.path.join(bin_dir, name), "--version"])
    tests.check("version_" + name, [] if version.returncode == 0 and version.stdout.startswith(name + " ")
                else ["--version says \"%s\"" % version.stdout.strip()])


def commands_of(help_text):
    """Words -> summary, as xenmesh --help lists them."""
    block = help_text.split("Commands", 1)[1].split("\n", 1)[1].split("\n\n", 1)[0]
    return {line[2:].split("  ", 1)[0].strip() for line in block.splitlines()}


def documented_commands(page, commands):
    """Command -> options of its tags, those nested below it included; and tags that are no command."""
    found, strangers, current = {}, [], None
    for tag in page.tags("COMMANDS"):
        words = tag.split()
        command = next((c for c in (" ".join(words[:n]) for n in (3, 2, 1)) if c in commands), None)
        if command:
            current = command
            found.setdefault(command, set())
        elif not tag.startswith("-"):
            strangers.append(tag)
            continue
        if current:
            found[current].update(OPTION.findall(tag))
    return found, strangers


def is_of_bus(command):
    """Those are in a page of their own."""
    return command.startswith("bus ")


def check_cli(tests, bin_dir):
    binary = os.path.join(bin_dir, "xenmesh")
    text = help_of(binary)
    commands = commands_of(text)
    options = set(OPTION.findall(text))
    found = {}
    for name, of_bus in (("xenmesh.1", False), ("xenmesh-bus.1", True)):
        page = Page(name)
        wanted = {command for command in commands if is_of_bus(command) == of_bus}
        documented, strangers = documented_commands(page, wanted)
        found.update(documented)
        tests.check("man_commands_" + name, differences(set(documented), wanted, "command", name)
                    + ["\"%s\" of %s is no command" % (tag, name) for tag in strangers])
        tests.check("man_exit_statuses_" + name, differences(
            set(page.tags("EXIT STATUS")), exit_statuses(text), "exit status", name))
    tests.check("man_global_options", differences(
        Page("xenmesh.1").options("OPTIONS"), options, "option", "xenmesh.1"))
    said = {run([binary, *words, "--version"]).stdout for words in ([], ["vm"], ["vm", "list"], ["--json"])}
    tests.check("version_anywhere", [] if len(said) == 1 and said.pop().startswith("xenmesh ") else [str(said)])
    for command in sorted(commands):
        real = set(OPTION.findall(help_of(binary, command.split()))) - options
        tests.check("man_options_" + command.replace(" ", "_"), differences(
            found.get(command, set()) - options, real, "option", "the man page: %s" % command))
    groups = {" ".join(command.split()[:n]) for command in commands for n in (1, 2)} - commands
    for group in sorted(groups):
        listed = {c for c in commands_of(help_of(binary, group.split()))}
        tests.check("help_of_" + group.replace(" ", "_"), differences(
            listed, {c for c in commands if c.startswith(group + " ")}, "command", "xenmesh %s --help" % group))
    return commands, options


def check_topology_keys(tests, bin_dir, work_dir):
    """What the complaint about an unknown key calls known is in the page of the format."""
    page = Page("xenmesh-topology.conf.5")
    path = os.path.join(work_dir, "unknown.conf")
    for section in ("bus", "service x", "tls", "access"):
        with open(path, "w", encoding="ascii") as f:
            f.write("[%s]\nno_such_key = 1\n" % section)
        result = run([os.path.join(bin_dir, "xenmesh"), "--json", "bus", "topology", "check", path])
        said = "".join(json.loads(result.stdout)["errors"])
        found = re.search(r"(?:known here are|the roles are) (.+)$", said)
        keys = set(re.findall(r"\w+", found[1])) - {"and"} if found else set()
        problems = [] if keys else ["no keys in \"%s\"" % said]
        tests.check("topology_keys_" + section.split()[0], problems + [
            "key %s of [%s] is not in %s" % (key, section, page.name) for key in sorted(keys)
            if key not in page.tags("SECTIONS")])


def check_topology_mistakes(tests, bin_dir, work_dir):
    """A service that does not start because of it says each mistake on its own line, with its place, and no more."""
    path = os.path.join(work_dir, "mistakes.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write("[bus]\nfirst = 1\nsecond = 2\n")
    for name in ("xenmesh-ops", "xenmesh-metrics", "xenmesh-agent-bridge"):
        result = run([os.path.join(bin_dir, name), "--topology", path])
        lines = result.stderr.splitlines()
        tests.check("mistakes_" + name, ["exit status %d" % result.returncode] * (result.returncode != 1) + [
            "%s is not in \"%s\"" % (place, lines) for place in ("%s:2:" % path, "%s:3:" % path)
            if sum(place in line and "\\x" not in line for line in lines) != 1] +
            ["more is said: %s" % line for line in lines if path not in line])


def check_wrong_values(tests, bin_dir):
    """A value that an option cannot have is named."""
    result = run([os.path.join(bin_dir, "xenmesh-ops"), "--workers", "none"])
    tests.check("wrong_value", [] if result.returncode == 2 and '"none"' in result.stderr else [result.stderr])
    for path in ("relative", "", "/a b"):
        result = run([os.path.join(bin_dir, "xenmesh"), "--socket-dir", path, "vm", "list"])
        tests.check("socket_dir_of_%d" % len(path), [] if result.returncode == 2 and '"%s"' % path in result.stderr
                    else ["%d: %s" % (result.returncode, result.stderr)])


def check_pages(tests):
    pages = sorted(os.path.basename(path) for path in glob.glob(os.path.join(MAN, "*.[1-8]")))
    wanted = {"xenmesh.1", "xenmesh-bus.1", *FORMATS, *(name + ".8" for name in SERVICES)}
    tests.check("man_pages", differences(set(pages), wanted, "page", "docs/man"))
    for name in pages:
        references = set(re.findall(r"\b(xenmesh[\w.-]*) ?\((\d)\)", Page(name).text))
        tests.check("man_references_" + name, [
            "%s(%s) is not there" % (title, section) for title, section in sorted(references)
            if "%s.%s" % (title, section) not in pages])
    groff = shutil.which("groff")
    for name in pages:
        if not groff:
            print("skip man_renders_%s: groff is not installed" % name)
            continue
        result = run([groff, "-man", "-Tutf8", "-ww", "-z", os.path.join(MAN, name)])
        tests.check("man_renders_" + name, (result.stdout + result.stderr).splitlines())


def check_links(tests):
    """Relative links of the documents lead somewhere."""
    documents = [os.path.join(ROOT, name) for name in ("README.md", "CONTRIBUTING.md")]
    documents += glob.glob(os.path.join(ROOT, "docs/**/*.md"), recursive=True)
    problems = []
    for path in sorted(documents):
        with open(path, encoding="utf-8") as f:
            targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", f.read())
        problems += ["%s: %s is not there" % (os.path.relpath(path, ROOT), target) for target in targets
                     if "://" not in target and not os.path.exists(os.path.join(os.path.dirname(path), target))]
    tests.check("links", problems)


# ---- completion ----


class Completer:
    """A shell with the completion loaded, and a topology whose services are all away."""

    def __init__(self, bin_dir, work_dir, shell):
        self.program = os.path.join(bin_dir, "xenmesh")
        topology = os.path.join(work_dir, "topology.conf")
        with open(topology, "w", encoding="utf-8") as f:
            f.write("[bus]\nrun_dir = %s\n" % os.path.join(work_dir, "run"))
        self.work_dir = work_dir
        self.shell = shell
        self.command = (["bash", "--norc", "--noprofile", "-c", DRIVER, "bash", COMPLETION] if shell == "bash"
                        else ["zsh", "-f", "-c", DRIVER_ZSH, "zsh", COMPLETION_ZSH])
        self.env = dict(os.environ, XENMESH_TOPOLOGY=topology, LC_ALL="C.UTF-8")

    def ask(self, *words, program=None):
        """Replies, and what is wrong in any case: output on stderr, or too long a wait."""
        started = time.monotonic()
        try:
            result = run([*self.command, program or self.program, *words], env=self.env, cwd=self.work_dir)
        except subprocess.TimeoutExpired:
            return [], ["not finished in %d s" % COMMAND_TIMEOUT_S]
        took = time.monotonic() - started
        problems = ["\"%s\" on stderr" % line for line in result.stderr.splitlines()]
        if result.returncode != 0:
            problems.append("exit status %d" % result.returncode)
        if took > COMPLETION_LIMIT_S:
            problems.append("took %.1f s" % took)
        return result.stdout.splitlines(), problems


def check_replies(tests, completer, name, words, wanted, **more):
    replies, problems = completer.ask(*words, **more)
    if replies != wanted:
        problems.append("replies are %s instead of %s" % (replies, wanted))
    tests.check("complete_%s_%s" % (completer.shell, name), problems)


def check_words(tests, completer, commands, options):
    """The completion offers the commands and options that --help names."""
    groups = {}
    for command in commands:
        words = command.split()
        for i, word in enumerate(words):
            groups.setdefault(tuple(words[:i]), set()).add(word)
    for group, words in sorted(groups.items()):
        replies, problems = completer.ask(*group, "")
        tests.check("complete_commands_" + "_".join(group), problems + differences(
            set(replies), words, "command %s" % " ".join(group), "the completion"))
    for command in sorted(commands):
        real = set(OPTION.findall(help_of(completer.program, command.split()))) | options
        replies, problems = completer.ask(*command.split(), "--")
        tests.check("complete_options_" + command.replace(" ", "_"), problems + differences(
            set(replies), real, "option of %s" % command, "the completion"))


def write_program(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def check_strange_answers(tests, completer):
    """A program in place of xenmesh whose answers are not what one wishes for."""
    stub = os.path.join(completer.work_dir, "stub")
    lines = ["web1\trunning", "$(touch pwned)", "`touch pwned`", "two words", "a;touch pwned", "w*", "..ok+",
             "$(touch pwned)\t$(touch pwned)", "web2\t$(touch pwned)"]
    write_program(stub, "cat <<'END'\n%s\nEND\necho complaint >&2\nexit 4\n" % "\n".join(lines))
    check_replies(tests, completer, "hostile_words", ["vm", "start", ""], ["web1", "..ok+", "web2"], program=stub)
    tests.check("complete_%s_executes_nothing" % completer.shell,
                ["a name was executed"] if os.path.exists(os.path.join(completer.work_dir, "pwned")) else [])
    write_program(stub, "exec sleep 60\n")
    check_replies(tests, completer, "program_hangs", ["bus", "ping", ""], [], program=stub)
    check_replies(tests, completer, "program_is_missing", ["vm", "start", ""], [],
                  program=os.path.join(completer.work_dir, "no-such-program"))


# What both shells are asked, and what they shall offer. bash has cut the words at "=" before.
QUESTIONS = (
    ("part_of_a_word", ["vm", "un"], ["undefine", "unpause"]),
    ("third_word", ["bus", "topology", "s"], ["show"]),
    ("after_options", ["--json", "--timeout", "3s", "vm", "sta"], ["start"]),
    ("vms_away", ["vm", "start", ""], []),
    ("one_vm_only", ["vm", "show", "a", ""], []),
    ("services_away", ["bus", "ping", ""], ["ops", "metrics", "agent-bridge"]),
    ("level", ["bus", "log-level", "ops", "w"], ["warning"]),
    ("value", ["metrics", "query", "host", "--cf", "m"], ["min", "max"]),
    ("unknown_value", ["vm", "shutdown", "--deadline", ""], []),
    ("topics", ["events", "v"], ["vm/"]),
    ("counters_are_no_topics", ["bus", "stats", "ops", ""], []),
    ("method", ["bus", "call", "StartV"], ["StartVm"]),
    ("method_of_proto", ["bus", "call", "Ops/Und"], ["Ops/UndefineVm"]),
    ("method_in_full", ["bus", "call", "xenmesh.v1.Ops/Und"], ["xenmesh.v1.Ops/UndefineVm"]),
    ("method_of_service", ["bus", "call", "ops.Und"], ["ops.UndefineVm"]),
    ("fields", ["bus", "call", "StartVm", ""], ["vm=", "paused="]),
    ("fields_within", ["bus", "call", "DefineVm", "config.vc"], ["config.vcpus="]),
    ("no_such_method", ["bus", "call", "NoSuch", ""], []),
    ("no_such_command", ["nothing", ""], []),
    ("not_hidden", ["__"], []))
QUESTIONS_BASH = (
    ("value_after_equals", ["vm", "define", "--format", "=", "x"], ["xl"]),
    ("value_of_field", ["bus", "call", "StartVm", "paused", "=", "t"], ["true"]),
    ("file", ["vm", "define", "topo"], ["topology.conf"]),
    ("file_after_at", ["bus", "call", "StartVm", "@", "topo"], ["topology.conf"]))
QUESTIONS_ZSH = (
    ("value_after_equals", ["vm", "define", "--format=x"], ["--format=xl"]),
    ("value_of_field", ["bus", "call", "StartVm", "paused=t"], ["paused=true"]),
    ("file", ["vm", "define", "topo"], [":files"]))


def check_completion(tests, bin_dir, work_dir, commands, options):
    completer = Completer(bin_dir, work_dir, "bash")
    check_words(tests, completer, commands, options)
    for shell, file, more in (("bash", COMPLETION, QUESTIONS_BASH), ("zsh", COMPLETION_ZSH, QUESTIONS_ZSH)):
        if not shutil.which(shell):
            print("skip complete_%s: %s is not installed" % (shell, shell))
            continue
        tests.check("completion_syntax_" + shell, run([shell, "-n", file]).stderr.splitlines())
        completer = Completer(bin_dir, work_dir, shell)
        for question in (*QUESTIONS, *more):
            check_replies(tests, completer, *question)
        check_strange_answers(tests, completer)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="build directory")
    args = parser.parse_args()
    tests = Tests()
    bin_dir = os.path.abspath(args.bin)
    check_pages(tests)
    check_links(tests)
    commands, options = check_cli(tests, bin_dir)
    for name in SERVICES:
        try:
            check_service(tests, name, bin_dir)
        except (OSError, RuntimeError) as error:
            tests.check("man_" + name, [str(error)])
    with tempfile.TemporaryDirectory(prefix="xenmesh-docs-") as work_dir:
        check_topology_keys(tests, bin_dir, work_dir)
        check_topology_mistakes(tests, bin_dir, work_dir)
        check_wrong_values(tests, bin_dir)
        check_completion(tests, bin_dir, work_dir, commands, options)
    return tests.end()


sys.exit(main())
