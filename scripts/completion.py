"""Completion of the commands of `ligare`, their flags, and values that are one of a few, for a shell.

    ligare completion bash > ~/.local/share/bash-completion/completions/ligare
    ligare completion zsh  > ~/.zfunc/_ligare
    ligare completion fish > ~/.config/fish/completions/ligare.fish

zsh needs `fpath+=~/.zfunc; autoload -U compinit; compinit` in ~/.zshrc. The script holds everything, so that completing
starts no Python; make it again after an update.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from configs.command import command
from scripts.main import COMMANDS
from scripts.shell_flags import Flag, flags_of


@command("completion")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shell", choices=sorted(SHELLS), help="which shell")
    options = parser.parse_args(argv)
    print(SHELLS[options.shell]({name: flags_of(name) for name in COMMANDS}), end="")
    return 0


def bash(flags: dict[str, list[Flag]]) -> str:
    """A function for `complete -F`; where it has no answer, bash offers files."""
    values, known = [], []
    for name, own in flags.items():
        words = [word for flag in own if not flag.names for word in flag.choices]
        spelled = " ".join(one for flag in own for one in flag.names)
        known.append(f'    {name}) flags="{spelled}" words="{" ".join(words)}" ;;')
        for flag in own:
            if flag.names and flag.choices:
                pattern = "|".join(f'"{name} {one}"' for one in flag.names)
                values.append(f'    {pattern}) words="{" ".join(flag.choices)}" flags="$words" ;;')
    return f"""# completion of ligare for bash
_ligare() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" flags="" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(flags)} --help --version" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{chr(10).join(known)}
  esac
  case "${{COMP_WORDS[1]}} $before" in
{chr(10).join(values)}
  esac
  case "$word" in
    -*) words="$flags" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _ligare ligare
"""


def zsh(flags: dict[str, list[Flag]]) -> str:
    """A function for compinit."""
    commands = "\n".join(f"    '{name}:{quoted(COMMANDS[name].about)}'" for name in flags)
    cases = []
    for name, own in flags.items():
        lines = [f"'*{n}[{bracketed(flag.about)}]{zsh_value(flag)}'" for flag in own for n in flag.names]
        words = [word for flag in own if not flag.names for word in flag.choices]
        lines.append(f"'*: :({' '.join(words)})'" if words else "'*: :_files'")
        cases.append(f"    {name}) _arguments {' '.join(lines)} ;;")
    return f"""#compdef ligare
_ligare() {{
  local -a commands
  commands=(
{commands}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local name="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$name" in
{chr(10).join(cases)}
  esac
}}
if [ "$funcstack[1]" = "_ligare" ]; then _ligare "$@"; else compdef _ligare ligare; fi
"""


def zsh_value(flag: Flag) -> str:
    if flag.choices:
        return f":value:({' '.join(flag.choices)})"
    return ":value:_files" if flag.takes_value else ""


def fish(flags: dict[str, list[Flag]]) -> str:
    """`complete` lines."""
    lines = ["# completion of ligare for fish"]
    for name in flags:
        about = quoted(COMMANDS[name].about)
        lines.append(f"complete -c ligare -n __fish_use_subcommand -f -a {name} -d '{about}'")
    for name, own in flags.items():
        here = f"complete -c ligare -n '__fish_seen_subcommand_from {name}'"
        for flag in own:
            spelled = "".join(f" -l {n[2:]}" if n.startswith("--") else f" -s {n[1:]}" for n in flag.names)
            values = f" -a '{' '.join(flag.choices)}'" if flag.choices else ""
            only = (" -x" if flag.choices else " -r") if flag.takes_value and flag.names else " -f" if values else ""
            lines.append(f"{here}{spelled}{only}{values} -d '{quoted(flag.about)}'")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Text between single quotes, in all three shells."""
    return text.replace("\\", "").replace("'", "").replace(":", ",")


def bracketed(text: str) -> str:
    return quoted(text).replace("[", "(").replace("]", ")")


SHELLS: dict[str, Any] = {"bash": bash, "zsh": zsh, "fish": fish}


if __name__ == "__main__":
    sys.exit(main())
