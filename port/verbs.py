"""Writes what follows from the table of verbs (vimage/commands/verbs.py): the completions for
bash and zsh, the commands of rc.d/vimage, and the synopses in vimage(8).

    python3 port/verbs.py               write it
    python3 port/verbs.py --check       only say what is stale; then the exit status is 1
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vimage.commands.verbs import COMMON, HELP, VERBS, VERSION, Option, Verb  # noqa: E402

#: Common options that any verb may have, or none.
_ANYWHERE = [option for option in (*COMMON, HELP, VERSION) if not option.hidden]

#: Verbs that rc.subr(8) knows without being told.
_RC_OWN = ("start", "stop", "restart")

#: What the values of options are called that are files.
_PATHS = {"FILE": "_files", "DIR": "_directories"}

_NAMES = "$(sysrc -n vimage_list 2>/dev/null)"


# -- bash ----------------------------------------------------------------------------------

def bash(_: str) -> str:
    """The completion for bash."""
    formats = [(verb.name, option) for verb in VERBS for option in verb.options if option.choices]
    flags = sorted({option.flag for _, option in formats})
    every = {f"*:{option.flag}": option for option in _options_of_all()
             if option.value and not option.choices}
    paths = [flag for flag, option in every.items() if option.value in _PATHS]
    values = [flag for flag in every if flag not in paths]
    alone = [f"{verb.name}:{option.flag}" for verb in VERBS for option in verb.options
             if not option.value and f"*:{option.flag}" in every]
    return _BASH.format(
        verbs=_folded([verb.name for verb in VERBS], 12),
        options=_folded(sorted({"-h", *(option.flag for option in _ANYWHERE)}), 15),
        alone=f"\t{'|'.join(alone)})\t;;\n" if alone else "",
        values=f"\t{'|'.join(values)})\treturn ;;\n" if values else "",
        paths="|".join(paths), flags="|".join(f"*:{flag}" for flag in flags),
        choices="".join(f'\t\t{name})\tword="{" ".join(option.choices)}" ;;\n'
                        for name, option in formats),
        own="".join(f'\t{verb.name})\toptions="$options '
                    f'{" ".join(option.flag for option in verb.options)}" ;;\n'
                    for verb in VERBS if verb.options),
        nothing="|".join(f"{verb.name}:*" for verb in VERBS if not verb.completes),
        files="|".join(f"{verb.name}:*" for verb in VERBS if verb.completes == "files"),
        words="".join(f'\t{verb.name}:*)\tword="{" ".join(_words(verb))} {_NAMES}" ;;\n'
                      for verb in VERBS if _words(verb)),
        names=_NAMES)


_BASH = """\
# Completion of vimage(8) for bash.  bash-completion sources it.
# Written by port/verbs.py.

_vimage() {{
	local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
	local verbs="{verbs}"
	local options="{options}"
	local word verb=
	for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
		case " ${{verbs//[[:space:]]/ }} " in
		*" $word "*)	verb=$word; break ;;
		esac
	done
	COMPREPLY=()
	case $verb:$previous in
{alone}	{paths})
		compopt -o default
		return ;;
{values}	{flags})
		case $verb in
{choices}		*)	return ;;
		esac
		read -ra COMPREPLY -d '' < <(compgen -W "$word" -- "$current")
		return ;;
	esac
	case $verb in
{own}	esac
	case $verb:$current in
	*:-*)	word=$options ;;
	:*)	word=$verbs ;;
	{nothing})	return ;;
	{files})	compopt -o default; return ;;
{words}	*)	word={names} ;;
	esac
	read -ra COMPREPLY -d '' < <(compgen -W "$word" -- "$current")
}}

complete -F _vimage vimage
"""


def _options_of_all() -> list[Option]:
    return [*_ANYWHERE, *(option for verb in VERBS for option in verb.options)]


def _words(verb: Verb) -> list[str]:
    """Fixed words that may stand before the names: those in lower case that are no value of
    an option."""
    bare = re.sub(r"-[\w-]+( [a-z]+( \| [a-z]+)*)?", "", verb.synopsis)
    return re.findall(r"\b[a-z]+\b", bare)


def _folded(words: Iterable[str], first: int) -> str:
    """Words over several lines of a shell script."""
    lines, room = [""], 84 - first
    for word in words:
        if len(lines[-1]) + len(word) > room:
            lines.append("")
            room = 84
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n\t    ".join(lines)


# -- zsh -----------------------------------------------------------------------------------

def zsh(_: str) -> str:
    """The completion for zsh."""
    return _ZSH.format(
        options="".join(f"\t\t{_zsh_option(option)}\n" for option in _ANYWHERE),
        verbs="".join(f"\t\t'{verb.name}:{_quoted(verb.meaning)}'\n" for verb in VERBS),
        rest="".join(_zsh_rest(verb) for verb in VERBS if _zsh_arguments(verb)))


_ZSH = """\
#compdef vimage
# Completion of vimage(8) for zsh.
# Written by port/verbs.py.

_vimage_names() {{
	local -a names
	names=(${{(z)"$(sysrc -n vimage_list 2>/dev/null)"}})
	_describe 'vimage' names
}}

_vimage() {{
	local -a options verbs
	options=(
{options}	)
	verbs=(
{verbs}	)
	local state line
	_arguments -C "$options[@]" '1: :->verb' '*:: :->rest'
	case $state in
	verb)
		_describe 'verb' verbs ;;
	rest)
		case $words[1] in
{rest}		*)
			_arguments "$options[@]" ;;
		esac ;;
	esac
}}

_vimage "$@"
"""


def _zsh_option(option: Option) -> str:
    meaning = _quoted(option.meaning)
    if option is HELP:
        return f"'(-h --help)'{{-h,--help}}'[{meaning}]'"
    value = ""
    if option.choices:
        value = f":{option.value.lower()}:({' '.join(option.choices)})"
    elif option.value:
        what = {"DIR": "directory"}.get(option.value, option.value.lower())
        value = f":{what}:{_PATHS.get(option.value, ' ')}"
    return f"'{option.flag}[{meaning}]{value}'"


def _zsh_rest(verb: Verb) -> str:
    # An option of the verb's own takes the place of the common one of the same flag.
    own = {option.flag for option in verb.options}
    twice = "|".join(f"{option.flag}\\[*" for option in _ANYWHERE if option.flag in own)
    common = f'"${{(@)options:#{twice}}}"' if twice else '"$options[@]"'
    arguments = " \\\n\t\t\t    ".join([common, *_zsh_arguments(verb)])
    return f"\t\t{verb.name})\n\t\t\t_arguments {arguments} ;;\n"


def _zsh_arguments(verb: Verb) -> list[str]:
    own = [_zsh_option(option) for option in verb.options]
    words = [f"'1: :({' '.join(_words(verb))})'"] if _words(verb) else []
    if verb.rest:
        return [*own, "'1: :_vimage_names'", "'*::command:_normal'"]
    if verb.completes == "files":
        return [*own, "'*:file:_files'"]
    if verb.completes == "names":
        return [*own, *words, f"'{'1' if verb.most == 1 else '*'}: :_vimage_names'"]
    return own


def _quoted(text: str) -> str:
    """For the inside of '...[...]' or '...:...' of zsh."""
    return text.replace("'", "'\\''").replace(":", "\\:").replace("[", "\\[").replace("]", "\\]")


# -- rc.d ----------------------------------------------------------------------------------

def rc_script(text: str) -> str:
    """The lines of rc.d/vimage that name verbs."""
    extra = [verb.name for verb in VERBS if verb.rc and verb.name not in _RC_OWN]
    looks = [verb.name for verb in VERBS if verb.rc and verb.looks]
    text = re.sub(r'^extra_commands=".*"$', f'extra_commands="{" ".join(extra)}"', text,
                  flags=re.M)
    return re.sub(r"^[a-z|]+\)\trcvar= ;;$", f"{'|'.join(looks)})\trcvar= ;;", text, flags=re.M)


# -- the manual ----------------------------------------------------------------------------

def manual(text: str) -> str:
    """The SYNOPSIS, and the head of the paragraph of each verb.  Raises ValueError where a
    verb has no paragraph."""
    begin, end = '.\\" BEGIN synopsis\n', '.\\" END synopsis\n'
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    before, title, verbs = tail.partition(".Ss Verbs\n")
    paragraphs, options, after = verbs.partition(".Ss Options\n")
    for verb in VERBS:
        item = f".It Cm {verb.name} {mdoc(verb.synopsis)}".rstrip()
        paragraphs, found = re.subn(rf"^\.It Cm {verb.name}(?: .*)?$", lambda _, item=item: item,
                                    paragraphs, flags=re.M)
        if found != 1:
            raise ValueError(f"vimage.8 has {found} paragraphs of the verb {verb.name}")
    return "".join((head, begin, *(f"{line}\n" for line in synopsis()), end, before, title,
                    paragraphs, options, after))


def synopsis() -> list[str]:
    """The lines of the SYNOPSIS."""
    lines = [".Nm service", ".Nm",
             f".Cm {' | '.join(verb.name for verb in VERBS if verb.rc)}",
             ".Op Ar argument ..."]
    for verb in VERBS:
        lines += [".Nm", f".Cm {verb.name}"]
        lines += [f".Op {mdoc(f'{option.flag} {option.value}')}" for option in COMMON
                  if option.name in verb.takes and "simulate" not in option.name]
        if verb.synopsis:
            lines.append(f".{mdoc(verb.synopsis)}")
    return [*lines, ".Nm", ".Op Fl -simulate | Fl -simulated-host Ar directory", ".Ar verb",
            ".Op Ar argument ...", ".Nm", ".Fl h | -help | -version"]


def mdoc(synopsis: str) -> str:
    """A synopsis as mdoc(7) has it."""
    words: list[str] = []
    macro = ""
    for word in re.sub(r"([][])", r" \1 ", synopsis).split():
        if word in "[]":
            words.append({"[": "Oo", "]": "Oc"}[word])
            macro = ""
        elif word in ("|", "..."):
            words.append(word)
        else:
            kind, text = _mdoc_word(word)
            if kind != macro or kind == "Fl":
                words.append(kind)
            words.append(text)
            macro = kind
    if words[-1:] == ["Oc"] and words[-2] != "Oc":  # Op reaches to the end of the line
        last = max(at for at, word in enumerate(words) if word == "Oo")
        words[last:] = ["Op", *words[last + 1:-1]]
    return " ".join(words)


def _mdoc_word(word: str) -> tuple[str, str]:
    if word.startswith("-"):
        return "Fl", word[1:]
    if word.isupper():
        return "Ar", {"DIR": "directory"}.get(word, word.lower())
    return "Cm", word


FILES: dict[str, Callable[[str], str]] = {
    "share/bash-completion/completions/vimage": bash,
    "share/zsh/site-functions/_vimage": zsh,
    "rc.d/vimage": rc_script,
    "man/vimage.8": manual,
}


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    stale = 0
    for name, write in FILES.items():
        before = (ROOT / name).read_text(encoding="utf-8")
        after = write(before)
        if before == after:
            continue
        if arguments == ["--check"]:
            print(f"{name} is stale: python3 port/verbs.py")
            stale = 1
        else:
            (ROOT / name).write_text(after, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
