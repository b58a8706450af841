"""Is the answer right? One reader of answers, and typed comparisons `(given, truth) -> value in [0, 1]`.

`accuracy(text, answer, compare=…)` is the reward; a comparison never raises on what a model wrote.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from rapidfuzz.distance import Indel, Levenshtein

from gamutrl.rewards.maths import maths
from gamutrl.rewards.parsing import json_in
from gamutrl.rewards.tags import Tag, tag_text

Compare = Callable[[str, Any], float]
"""`(given, truth) -> value`: how well the answer that was given agrees with the true one."""

MAX_CHARACTERS = 20_000
"""Edit distances see this much of an answer."""

MAX_ROUGE_CHARACTERS = 4_000
"""ROUGE, which stems every word and compares every pair, sees this much."""


def accuracy(
    text: str,
    answer: Any,
    *,
    compare: Compare = maths,
    tag: Tag | None = "answer",
    which: Literal["first", "last"] = "first",
    missing: Literal["empty", "whole"] | None = None,
    multiline: bool = True,
) -> float:
    """How well the tagged answer of a completion agrees with the row's.

    tag: None compares the whole text. missing: what a completion without the tag gave: nothing, which is wrong (None),
    an empty answer, or its whole text. The row's answer may stand in the same tag or bare.
    """
    given = text.strip() if tag is None else tag_text(text, tag, which=which, missing=missing, multiline=multiline)
    if given is None:
        return 0.0
    if isinstance(answer, str) and tag is not None:
        answer = tag_text(answer, tag, which=which, missing="whole", multiline=multiline)
    return float(compare(given, answer))


def typed_accuracy(
    text: str,
    answer: Any,
    problem_type: str,
    *,
    compare: Mapping[str, Compare],
    default: Compare | None = None,
    **reading: Any,
) -> float | None:
    """`accuracy` with the comparison for the row's `problem_type`; None (does not apply) for a type that has none.

    Video-R1's line of work: `compare=PROBLEM_TYPES`.
    """
    chosen = compare.get(problem_type, default)
    return None if chosen is None else accuracy(text, answer, compare=chosen, **reading)


# -- text ------------------------------------------------------------------------------------------------------------


def same_text(given: str, truth: Any, *, ignore_case: bool = False, ignore: str = "") -> float:
    """1 if the texts are equal, apart from blanks at their ends and the characters to `ignore`."""
    return float(_plain(given, ignore_case, ignore) == _plain(str(truth), ignore_case, ignore))


def same_word_or_number(given: str, truth: Any) -> float:
    """1 if the texts are equal, case, blanks and the answer's final dots aside, or one spells the other's number."""
    one, other = given.strip().rstrip(".").lower(), str(truth).strip().lower()
    values = [_SPOKEN.get(text, to_number(text)) for text in (one, other)]
    return float(one == other or (None not in values and values[0] == values[1]))


def contains(given: str, truth: Any, *, either: bool = False, ignore: str = " _", empty: bool = False) -> float:
    """1 if the answer contains the truth (or, `either`, the truth the answer), case and `ignore` aside.

    empty: whether an empty text is contained in every other (as released) or in none. Visual-RFT compares class names
    so.
    """
    one, other = _plain(given, True, ignore), _plain(str(truth), True, ignore)
    return float((empty or bool(one and other)) and (other in one or (either and one in other)))


def same_or_contained(given: str, truth: Any, *, part: float = 0.6) -> float:
    """1 for the same text, `part` for one that contains the truth, case aside (Ground-R1, 2505.20272)."""
    return max(same_text(given, truth, ignore_case=True), part * contains(given, truth, ignore=""))


def edit_similarity(
    given: str, truth: Any, *, kind: Literal["levenshtein", "indel"] = "levenshtein", both_empty: float = 0.0
) -> float:
    """1 - edit distance / longer length; or "indel", the ratio of Levenshtein libraries (substitutions count two)."""
    distance = Levenshtein if kind == "levenshtein" else Indel
    one, other = given[:MAX_CHARACTERS], str(truth)[:MAX_CHARACTERS]
    return float(distance.normalized_similarity(one, other)) if one or other else both_empty


def anls(given: str, truths: Sequence[str], *, threshold: float = 0.5) -> float:
    """The best edit similarity with any true answer, 0 where the distance reaches `threshold` (Biten et al. 2019)."""
    best = max((edit_similarity(given, truth, both_empty=1.0) for truth in truths), default=0.0)
    return best if 1 - best < threshold else 0.0


def word_f1(given: str, truth: Any) -> float:
    """F1 of the words of two texts, each as often as it occurs, case aside."""
    one, other = (Counter(text.lower().split()) for text in (given, str(truth)))
    return 2 * (one & other).total() / (one.total() + other.total()) if one or other else 0.0


def soft_jaccard(given: str, truth: Any, *, alike: float = 0.8, words: int = 100) -> float:
    """Words in common over words in all; words that are at least `alike` (difflib's ratio) count for that ratio.

    Of long texts the first so many different words count. Source: CoRL (2505.17534).
    """
    one, other = (list(dict.fromkeys(text.lower().split()))[:words] for text in (given, str(truth)))
    common = sum(word in other for word in one)
    left, free = [word for word in one if word not in other], [word for word in other if word not in one]
    shared = float(common)
    for word in left:
        best = max(free, key=lambda free_word: _ratio(word, free_word), default=None)
        if best is not None and _ratio(word, best) >= alike:
            shared += _ratio(word, best)
            free.remove(best)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one[:50], other[:50], autojunk=False).ratio()


def bleu_1(given: str, truth: Any) -> float:
    """The share of words said that are true ones, less what exp(1 - true / said) takes where too few are said."""
    one, other = (Counter(re.sub(r"[\W_]", " ", text.lower()).split()) for text in (given, str(truth)))
    if not one or not other:
        return 0.0
    brevity = math.exp(min(0.0, 1 - other.total() / one.total()))
    return brevity * (one & other).total() / one.total()


def bleu_4(given: str, truth: Any) -> float:
    """The geometric mean of the shares of runs of 1 to 4 words that are true ones, times the brevity of `bleu_1`.

    Words and punctuation marks, case aside; a share of none counts as a tenth of one (smoothing method 1).
    """
    one, other = (re.findall(r"\w+|[^\w\s]", text.lower()[:MAX_CHARACTERS]) for text in (given, str(truth)))
    if not one or not set(one) & set(other):
        return 0.0
    total = 0.0
    for n in range(1, 5):
        said, asked = (Counter(zip(*(words[i:] for i in range(n)))) for words in (one, other))
        total += math.log(max((said & asked).total(), 0.1) / max(said.total(), 1)) / 4
    return math.exp(min(0.0, 1 - len(other) / len(one)) + total)


def relative_accuracy_of(given: str, truth: Any, *, keys: Sequence[str]) -> float:
    """The mean of `relative_error` over the numbers of a JSON object with these keys, in this order (VQ-Insight)."""
    one, other = json_in(given), json_in(str(truth))
    if not all(isinstance(value, dict) and list(value) == list(keys) for value in (one, other)):
        return 0.0
    return sum(relative_error(one[key], other[key]) for key in keys) / len(keys)


def count_accuracy(given: str, truth: Any) -> float:
    """1 - |given - true| / max(true, 1), at least 0; 0 for what is no whole number."""
    one, other = given.strip(), int(truth)
    return max(0.0, 1 - abs(int(one) - other) / (other or 1)) if re.fullmatch(r"[+-]?\d{1,18}", one) else 0.0


def changed_words(before: str, after: str) -> list[str]:
    """The words of `after` that lie between its longest common beginning and then end with `before`."""
    old, new = before.split(), after.split()
    shortest = min(len(old), len(new))
    start = next((i for i in range(shortest) if old[i] != new[i]), shortest)
    end = next((i for i in range(shortest - start) if old[-1 - i] != new[-1 - i]), shortest - start)
    return new[start : len(new) - end]


def names_change(given: str, before: str, after: str) -> float:
    """1 if the answer holds the first word that was changed, case aside (ViCrit, 2506.10128); 0 if none was."""
    changed = changed_words(before.lower(), after.lower())
    return float(bool(changed) and changed[0] in given.lower())


def word_accuracy(given: str, truth: Any) -> float:
    """1 - word error rate, at least 0: the edit distance of words over the number of true words (at least 1)."""
    one, other = given[:MAX_CHARACTERS].split(), str(truth)[:MAX_CHARACTERS].split()
    return max(0.0, 1 - Levenshtein.distance(one, other) / max(1, len(other)))


def word_accuracy_either(given: str, truth: Any) -> float:
    """`word_accuracy` measured against either of the two, whichever is better, case aside (Ground-R1, 2505.20272)."""
    one, other = given.lower(), str(truth).lower()
    return max(word_accuracy(one, other), word_accuracy(other, one))


def rouge(
    given: str, truth: Any, *, kinds: tuple[str, ...] = ("rouge1", "rouge2", "rougeL"), stem: bool = True
) -> float:
    """The mean F-measure of these kinds of ROUGE (rouge-score), in [0, 1]."""
    scores = _rouge_scorer(kinds, stem).score(str(truth)[:MAX_ROUGE_CHARACTERS], given[:MAX_ROUGE_CHARACTERS])
    return sum(scores[kind].fmeasure for kind in kinds) / len(kinds)


@cache
def _rouge_scorer(kinds: tuple[str, ...], stem: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(kinds), use_stemmer=stem)


def _plain(text: str, ignore_case: bool, ignore: str) -> str:
    text = text.strip().translate(dict.fromkeys(map(ord, ignore)))
    return text.lower() if ignore_case else text


# -- numbers ---------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+)(?:[eE][-+]?\d{1,3})?\s*%?")


def to_number(text: Any) -> float | None:
    """The number that a text is, thousands commas aside; None if it is none, or not finite."""
    try:
        value = float(str(text)[:400].replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def number_in(text: str, *, which: Literal["first", "last"] = "first") -> float | None:
    """The first or last number inside a text, its thousands commas and its percent sign read."""
    found = None
    for match in _NUMBER.finditer(text):
        found = match[0]
        if which == "first":
            break
    if found is None:
        return None
    value = to_number(found.rstrip("%").strip())
    return value / 100 if value is not None and found.endswith("%") else value


def same_number(given: str, truth: Any, *, decimals: int | None = 2, same_style: bool = False) -> float:
    """1 if both are the same number, after rounding to so many decimals (None: exactly).

    same_style: one written with a point or comma and one without are not the same (released Video-R1).
    """
    if same_style and any(c in given for c in ".,") != any(c in str(truth) for c in ".,"):
        return 0.0
    one, other = to_number(given), to_number(truth)
    if one is None or other is None:
        return 0.0
    return float(one == other if decimals is None else round(one, decimals) == round(other, decimals))


def relative_error(given: str, truth: Any, *, eps: float = 1e-9) -> float:
    """1 - |given - true| / |true|, at least 0. A text that is no number is 0."""
    one, other = to_number(given), to_number(truth)
    if one is None or other is None:
        return 0.0
    return 1 - min(1.0, (abs(one - other) + eps) / (abs(other) + eps))


_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_WORDS = f"{_UNITS} eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety zero".split()
_SPOKEN = {word: float(value) for word, value in zip(_WORDS, [*range(1, 21), *range(30, 100, 10), 0])}


def number_or_word(text: str, *, words_first: bool = False) -> float | None:
    """The first number of a text, in digits or, without any, in words ("three chairs").

    words_first: a word comes before digits and "a" is 1, so "a total of 5" is 1 (released SpaceR).
    """
    spoken = {**_SPOKEN, "a": 1.0, "an": 1.0} if words_first else _SPOKEN
    words = set(re.findall(r"\w+", text.lower()))
    named = next((value for word, value in spoken.items() if word in words), None)
    if words_first:
        digits = re.search(r"\d+(?:\.\d+)?", text)
        return named if named is not None else to_number(digits[0]) if digits else None
    written = number_in(text)
    return written if written is not None else named


def mean_relative_accuracy(
    given: str,
    truth: Any,
    *,
    number: Callable[[str], float | None] = number_or_word,
    strict: bool = False,
) -> float:
    """The share of the bars 0.50, 0.55, … 0.95 that 1 - relative error reaches (or, `strict`, passes).

    Source: VSI-Bench (arXiv 2412.14171), SpaceR, VILASR. 0 where the truth is 0 or either is no number.
    """
    one, other = number(given), to_number(truth)
    if one is None or not other:
        return 0.0
    error = abs(one - other) / abs(other)
    bars = np.linspace(0.5, 0.95, 10).tolist()
    return sum(error < 1 - bar if strict else error <= 1 - bar for bar in bars) / len(bars)


def within_tolerance(given: str, truth: Any, *, full: float = 0.05, none: float = 0.2, at_zero: float = 1.0) -> float:
    """1 up to a relative error of `full`, 0 beyond `none`, half a cosine between; texts must be equal.

    at_zero: the value of a true zero given as such (released Reason-RFT, 2503.20752: 0).
    """
    one, other = to_number(given), to_number(truth)
    if one is None or other is None:
        return same_text(given, truth)
    if other == 0:
        return at_zero * (one == 0)
    error = abs(one - other) / abs(other)
    if error < full:
        return 1.0
    return 0.0 if error > none else (math.cos(math.pi * (error - full) / (none - full)) + 1) / 2


def number_or_text(
    given: str,
    truth: Any,
    *,
    otherwise: Compare = partial(same_text, ignore_case=True),
    number: Callable[[str], float | None] = number_in,
    wanted: Callable[[str], float | None] = to_number,
) -> float:
    """1 if the number in the answer is the true one, where the truth is a number; `otherwise` where it is a text."""
    true = wanted(str(truth))
    return otherwise(given, truth) if true is None else float(number(given) == true)


# -- choices and sets ------------------------------------------------------------------------------------------------


def same_choice(given: str, truth: Any, *, letters: str = "ABCDEFGH") -> float:
    """1 if both name the same letter: the first capital that stands alone (`B`, `(B)`, `B. a cat`, `b`)."""
    one, other = choice_in(given, letters), choice_in(str(truth), letters)
    return float(one is not None and one == other)


def choice_in(text: str, letters: str = "ABCDEFGH") -> str | None:
    """The letter that an answer names: the whole answer in either case, else the first capital that stands alone."""
    text = text.strip()
    bare = text.strip("()[].:, ").upper()
    if len(bare) == 1 and bare in letters:
        return bare
    match = re.search(rf"(?<![A-Za-z])[{re.escape(letters)}](?![A-Za-z])", text)
    return match[0] if match else None


def choice_or_text(text: str, question: str, letters: str = "ABCDEFGH") -> str | None:
    """The letter that an answer names, or that of the option (`B. a blue bus`, one a line) whose text it is."""
    options = {
        line.strip()[2:].strip().lower(): line.strip()[0]
        for line in question.splitlines()
        if line.strip()[:1] in letters and line.strip()[1:2] in tuple(".):")
    }
    return options.get(text.strip().rstrip(".").lower()) or choice_in(text, letters)


def first_letter(text: str, letters: str = "ABCDEFG", *, drop: tuple[str, ...] = ()) -> str:
    """The first of these capitals anywhere in a text, after some phrases are dropped; "" if there is none."""
    for phrase in drop:
        text = text.replace(phrase, "")
    found = re.search(f"[{re.escape(letters)}]", text)
    return found[0] if found else ""


def starts_with_letter(given: str, truth: Any) -> float:
    """1 if the answer is the truth, or begins with it where it is a single character (TinyLLaVA-Video-R1)."""
    wanted = str(truth).strip()
    return float(bool(given) and (given == wanted or given[0] == wanted))


def only_letter(given: str, truth: Any, *, letters: str = "abcd") -> float:
    """1 if the true letter occurs in the answer, even inside a word, and none of the others does; case aside.

    The fallback of MM-Eureka's line, harsh on words: 0 for a truth that is no such letter.
    """
    given, wanted = given.lower(), str(truth).lower().strip()
    if len(wanted) != 1 or wanted not in letters:
        return 0.0
    return float(wanted in given and not any(letter in given for letter in letters if letter != wanted))


def first_of(text: str, words: tuple[str, ...]) -> str | None:
    """Whichever of the words occurs first in a text, even inside another word; None if none does."""
    places = {word: place for word in words if (place := text.find(word)) >= 0}
    return min(places, key=lambda word: places[word]) if places else None


def subset_share(given: str, truth: Any, *, partly: bool = True, strict: bool = False) -> float:
    """|given| / |truth| for comma-separated options, 0 as soon as one is wrong (TW-GRPO, 2505.24718).

    partly: False gives only the whole set credit. strict: a comma too many makes an option, an empty one (as released).
    """
    one, other = _options(given, strict), _options(str(truth), strict)
    if not one or not one <= other:
        return 0.0
    return len(one) / len(other) if partly else float(one == other)


def set_f1(given: str, truth: Any) -> float:
    """F1 of comma-separated items, case aside."""
    one, other = _options(given.lower()), _options(str(truth).lower())
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 0.0


def _options(text: str, strict: bool = False) -> set[str]:
    return {part.replace(" ", "").strip() for part in text.split(",") if strict or part.strip()}


PROBLEM_TYPES: Mapping[str, Compare] = {
    "multiple choice": same_choice,
    "numerical": same_number,
    "OCR": word_accuracy,
    "free-form": rouge,
    "regression": relative_error,
}
"""Video-R1's comparisons by type of problem (2503.21776), also SpaceR's, GRPO-CARE's and VQ-Insight's."""
