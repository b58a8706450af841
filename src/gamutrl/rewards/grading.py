"""Short mathematical answers graded strictly: equal as written once spelling is put aside, or equal in value.

The rules are those of the MATH benchmark's graders (Hendrycks et al. 2021; Lightman et al. 2023, PRM800K), which
EasyR1 and its line use: an integer must be given as an integer, a fraction reduced, a tuple element by element.
"""

from __future__ import annotations

import re

from gamutrl.rewards.maths import math_equal

MAX_CHARACTERS = 1000
_UNITS = "degree|cm|centimeter|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard"
_UNIT = re.compile(rf"(?:{_UNITS})(?:es)?s? *+(?:\^\d++)?")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
_FRACTION = re.compile(r"-?\d+.?/0*[1-9]\d*.?")
_LATEX = (
    (r"\\!", ""),
    (r"\\[dt]frac", r"\\frac"),
    (r"\\(?:left|right)", ""),
    (r"\^\s*\{?\\circ\}?", ""),
    (r"\\text\{ .*", ""),
    (r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}", r"\1"),
    (r"\\frac\s*(\d)\s*(\d)", r"\1/\2"),
    (r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2"),
    (r"\\sqrt\s*\{([^{}]*)\}", r"sqrt(\1)"),
    (r"\\sqrt\s*(\w)", r"sqrt(\1)"),
    (r"\\pi", "pi"),
    (r"\\(?:cdot|times)", "*"),
    (r"\\infty", "inf"),
    (r"\\[,;: ]", ""),
)


def same_answer(given: str | None, truth: str) -> bool:
    """Whether a short answer is the true one. Longer ones than MAX_CHARACTERS are only compared as written."""
    if given is None:
        return False
    one, other = given.strip(), truth.strip()
    if max(len(one), len(other)) > MAX_CHARACTERS:
        return one == other
    one, other = _spelled(one), _spelled(other)
    if one == other:
        return True
    if not one or not other:
        return False
    ones, others = _elements(one), _elements(other)
    if len(ones) != len(others) or (len(others) > 1 and (one[0], one[-1]) != (other[0], other[-1])):
        return False
    return all(_same_element(a, b) for a, b in zip(ones, others))


def boxed(text: str, *, first: bool = False) -> str | None:
    """The inside of the last (or first) `\\boxed{…}` of a text, braces matched; None if it has none that closes."""
    start = text.find("\\boxed{") if first else text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, opening = 0, start + 7
    for brace in re.finditer(r"[{}]", text[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if depth < 0:
            return text[opening : opening + brace.start()].strip()
    return None


def _same_element(one: str, other: str) -> bool:
    if one == other:
        return True
    if _FRACTION.fullmatch(one) and _FRACTION.fullmatch(other):
        return False
    if _is_integer(one) != _is_integer(other) or len({c for c in one + other if c.isalpha()} - set("sqrtfac")) > 2:
        return False
    return bool(math_equal(f"${_as_latex(one)}$", f"${_as_latex(other)}$"))


def _spelled(text: str) -> str:
    text = text.replace("\\%", "").replace("%", "").replace("\\$", "").replace("$", "").replace("\n", "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, zeros in (("million", 6), ("billion", 9), ("trillion", 12)):
        text = text.replace(word, f"*10^{zeros}")
    text = _UNIT.sub("", text)
    for pattern, replacement in _LATEX:
        text = re.sub(pattern, replacement, text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = re.sub(r"(?<=\d) +(?=\d)", "+", re.sub(r"- *", "-", text))
    text = re.sub(r"^\w=", "", text.replace(" ", "").replace("{", "").replace("}", "").lower())
    if _is_integer(text):
        return str(round(float(_GROUPED.sub("", text))))
    return re.sub(r"^\.", "0.", text)


def _elements(text: str) -> list[str]:
    text = _GROUPED.sub("", text)
    if len(text) > 2 and text[0] in "([" and text[-1] in ")]" and not set("()[]") & set(text[1:-1]):
        return [part.strip() for part in text[1:-1].split(",")]
    return [text]


def _is_integer(text: str) -> bool:
    try:
        value = float(_GROUPED.sub("", text))
        return abs(value - round(value)) <= 1e-7
    except (ValueError, OverflowError):
        return False


def _as_latex(text: str) -> str:
    return re.sub(r"sqrt\(([^()]*)\)", r"\\sqrt{\1}", text).replace("pi", "\\pi ")
