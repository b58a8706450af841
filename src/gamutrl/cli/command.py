"""The command line: which verbs there are, how it fails, what it returns.

Nothing here, and nothing at the top of a verb's module, imports PyTorch: `gamut --help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from gamutrl.cli import catalogue, compare, evaluate, files, play, rollout, sample, train
from gamutrl.cli.errors import UsageError

OK, FAILED, USAGE = 0, 1, 2

DESCRIPTION = """\
Reinforcement learning for generative multimodal models: published systems as recipes that run.

  gamut demo                              train a small vision-language model on this machine, in minutes
  gamut list                              the published systems there are
  gamut show visual-rft                   what one of them changes, its formulas, presets, evidence
  gamut train visual-rft                  train it; everything it does lands in runs/
  gamut train visual-rft --help           every setting it has
  gamut train grpo --model Qwen/Qwen2.5-VL-3B-Instruct --data rows.parquet --reward my_reward.py:score
  gamut play visual-rft                   take the model's seat: see a prompt, answer, see the rewards
  gamut rollout runs/visual-rft-001       what a trained model does, turn by turn
  gamut sample runs/flow-grpo-001 --n 4   pictures that a trained model makes
  gamut report runs/visual-rft-001        the report of a run, as one HTML file
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in a sentence, and where help is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.formatter_class, self.allow_abbrev = argparse.RawDescriptionHelpFormatter, False

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.")


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(prog="gamut", description=DESCRIPTION)
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("--debug", action="store_true", help="on an error, show where in the code it happened")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for module in (train, evaluate, play, rollout, sample, compare, catalogue, files):
        module.add_verbs(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (0 ok, 1 failed, 2 wrong usage, 130 and 143 stopped and saved)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        return _run(argv)
    except BrokenPipeError:  # `gamut list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, code = explain(error)
        print(f"gamut: {message}", file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[str, int]:
    """An error as a sentence for the user, and the exit code it means."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    signal_number = getattr(error, "signal_number", None)
    if signal_number is not None:
        return text, 128 + int(signal_number)
    usage = isinstance(error, UsageError) or type(error).__name__ == "ConfigError"
    if usage or (isinstance(error, ValueError | RuntimeError | OSError | KeyError) and " " in text):
        return text, USAGE if usage else FAILED
    return f"{type(error).__name__}: {text or 'no message'}. Run the command again with --debug to see where.", FAILED


def _run(argv: list[str]) -> int:
    if argv[:1] == ["fidelity"]:
        from gamutrl import fidelity

        return fidelity.main(argv[1:])
    parser = build_parser()
    arguments, overrides = split_overrides(argv, _options_of(parser, argv))
    args = parser.parse_args(arguments)
    if args.version:
        from gamutrl import __version__

        print(f"gamut {__version__}")
        return OK
    if args.verb is None:
        parser.print_help()
        return OK
    args.overrides = overrides
    return int(args.run(args) or OK)


def split_overrides(argv: Sequence[str], known: set[str] | None) -> tuple[list[str], list[tuple[str, str]]]:
    """Take the `--field.of.the.preset value` pairs out of a command line.

    known: the options of the verb; None for a verb that takes no overrides. What is neither known nor followed by
    a value is an error here; whether the field exists is known when the recipe is.
    """
    if known is None:
        return list(argv), []
    left: list[str] = []
    overrides: list[tuple[str, str]] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            return [*left, word, *words], overrides
        if not name.startswith("--") or name in known:
            left.append(word)
            continue
        if "." not in name and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.75)):
            raise UsageError(f"There is no option {name}; did you mean {close[0]}?")
        if not equals:
            following = next(words, None)
            if following is None or (following.startswith("--") and len(following) > 2):
                raise UsageError(f"{name} needs a value.")
            value = following
        overrides.append((name[2:], value))
    return left, overrides


def _options_of(parser: Parser, argv: Sequence[str]) -> set[str] | None:
    """The long options of the verb that was named, if it takes overrides."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verb = next((word for word in argv if not word.startswith("-")), None)
            if verb not in action.choices or not action.choices[verb].get_default("takes_overrides"):
                return None
            return {option for known in action.choices[verb]._actions for option in known.option_strings} | {
                "--version"
            }
    return None
