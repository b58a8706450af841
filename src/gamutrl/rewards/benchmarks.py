"""Answers graded as well-known benchmarks grade them: by rules on strings, with no algebra.

`maths` and `grading` hold answers to be equal in value; these hold them to be written alike, so that scores compare
with those that others publish.
"""

from __future__ import annotations

import re
import string

from gamutrl.rewards.tags import tag_text

MAX_CHARACTERS = 1000
"""Rules on strings see this much of an answer."""


# -- MATH (Hendrycks et al. 2021) -------------------------------------------------------------------------------------


def math_answer(text: str) -> str | None:
    """The inside of the last `\\boxed{…}` or `\\fbox{…}`, or what follows the last `\\boxed ` up to a dollar sign."""
    if "\\boxed " in text:
        return text.rpartition("\\boxed ")[2].partition("$")[0]
    start = text.rfind("\\boxed")
    start = text.rfind("\\fbox") if start < 0 else start
    opening = text.find("{", start) if start >= 0 else -1
    if opening < 0:
        return None
    depth = 0
    for brace in re.finditer(r"[{}]", text[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[opening + 1 : opening + brace.start()] if text.startswith("\\boxed{", start) else None
    return None


def same_math(given: str | None, truth: str) -> float:
    """1 if two answers are spelled alike under MATH's rules (`spelled_math`), else 0."""
    return float(given is not None and spelled_math(given) == spelled_math(truth))


def spelled_math(answer: str) -> str:
    """An answer under MATH's spelling: one kind of fraction, no units, degrees, dollars, percent signs or blanks."""
    text = answer[:MAX_CHARACTERS].replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac").replace("\\left", "").replace("\\right", "")
    text = text.replace("^{\\circ}", "").replace("^\\circ", "").replace("\\$", "")
    if text.count("\\text{ ") == 1:
        text = text.partition("\\text{ ")[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = f"0{text}" if text.startswith(".") else text
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:
        text = value
    text = re.sub(r"\\sqrt(?=[^{])(.)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{])\{", r"\\frac{\1}{", text)
    if text == "0.5":
        return "\\frac{1}{2}"
    return re.sub(r"^(-?\d{1,300})/(-?\d{1,300})$", r"\\frac{\1}{\2}", text)


# -- Minerva and DAPO -------------------------------------------------------------------------------------------------

_REPLACED = (
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
)
_DROPPED = (
    *("square", "ways", "integers", "dollars", "mph", "inches", "hours", "km", "units", "\\ldots", "sue", "points"),
    *("feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students"),
    *("childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3"),
    *("\\text{\n}", "\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots"),
)
_ANSWER = re.compile(r"Answer\s*+:\s*+([^\n]+)", re.IGNORECASE)


def spelled_minerva(answer: str) -> str:
    """An answer under Minerva's spelling (arXiv 2206.14858, appendix D.1), as DAPO grades it."""
    text = answer[:MAX_CHARACTERS].rpartition("=")[2]
    for old, new in (*_REPLACED, *((dropped, "") for dropped in _DROPPED)):
        text = text.replace(old, new)
    text = re.sub(r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$", text)
    for name in ("text", "textbf", "overline"):
        text = re.sub(rf"\\{name}\{{(.*?)\}}", r"\1", text)
    text = re.sub(r"\\boxed\{(.*)\}", r"\1", text)
    text = re.sub(r"frac([^{])(.)", r"frac{\1}{\2}", text)
    text = re.sub(r"sqrt([^{])", r"sqrt{\1}", text).replace("$", "")
    return (text.replace(",", "") if text.replace(",", "").isdigit() else text).strip()


def minerva_answer(text: str, *, last: int = 300) -> str | None:
    """What follows the last "Answer:" on its line, within the last characters of a text; None if nothing does."""
    found = _ANSWER.findall(text[-last:])
    return spelled_minerva(found[-1]) if found else None


# -- GSM8K and open-domain questions ----------------------------------------------------------------------------------


def last_number(text: str, *, marked: bool = True, last: int = 300) -> str | None:
    """GSM8K's answer as written: after the last "#### " (commas dropped), or the last number anywhere."""
    tail = text[-last:]
    if marked:
        found = re.findall(r"#### (-?[0-9.,]+)", tail)
        return found[-1].replace(",", "").replace("$", "") if found else None
    found = re.findall(r"-?[0-9.,]+", tail)
    real = [number for number in found if number not in ("", ".")]
    return real[-1] if real else (found[0] if found else None)


_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(given: str | None, truths: str | list[str], *, inside: bool = False) -> float:
    """1 if the answer is one of the truths (or, inside, contains one), case, punctuation and articles aside (SQuAD)."""
    if given is None:
        return 0.0
    one = plain_words(given)
    others = [plain_words(truth) for truth in ([truths] if isinstance(truths, str) else truths)]
    return float(any(other in one if inside else other == one for other in others))


def plain_words(text: str) -> str:
    """A text's words: lower case, no ASCII punctuation, no articles, single blanks."""
    text = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION))
    return " ".join(text.split())


def tight_tags(text: str) -> str:
    """A text without the blanks around `<`, `>` and `/` (some models write `< think >`)."""
    first, *rest = re.split(r"([<>/])", text)
    if not rest:
        return text
    middle = "".join(piece.strip() for piece in rest[:-1])
    return first.rstrip() + middle + rest[-1].lstrip()


def last_letter(text: str, letters: str = "ABCDE") -> str | None:
    """The last of the capital letters that stands alone, with no ASCII letter beside it; None if none does."""
    found = re.findall(rf"(?<![A-Za-z])[{letters}](?![A-Za-z])", text)
    return found[-1] if found else None


def without_degrees(text: str) -> str:
    """A text with the degree signs after its numbers dropped."""
    return re.sub(r"(\d(?:\.\d+)?)\s?(?:°|\^\s?\\circ|\^\{\\circ\}|\\circ)", r"\1", text)


def only_tag_around(text: str, mark: str, tag: str = "answer") -> float:
    """½ for a tag that opens once and closes once, ½ for the mark inside it."""
    inside = tag_text(text, tag)
    once = text.count(f"<{tag}>") == 1 == text.count(f"</{tag}>")
    return (once + (inside is not None and mark in inside)) / 2


_STEP = re.compile(r"Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,")


def step_marks(text: str) -> list[str]:
    """What marks the steps of a written-out thought: "Step 1:", bullets, "First," and the like (Open-R1)."""
    return _STEP.findall(text)
