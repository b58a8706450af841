"""Defects of released code that no argument of ours should reach, reproduced for the recorded cases alone."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from gamutrl.functional.geometry import box_iou
from gamutrl.rewards.answers import only_letter
from gamutrl.rewards.grading import boxed
from gamutrl.rewards.lengths import bell_length
from gamutrl.rewards.maths import Reading, math_equal, maths_in
from gamutrl.rewards.parsing import Detection, literal, loads, numbers
from gamutrl.rewards.tags import in_order, marks, tag_format, tag_text, tag_texts


def visual_rft_boxes(text: str, tag_first: bool = True) -> list[Detection] | None:
    """Visual-RFT: a one-line list of objects that all have a box and a confidence, or nothing at all."""
    if tag_first:
        inside = tag_text(text, multiline=False, missing="whole")
        text = f"<answer>{inside}</answer>".replace("[[", "[").replace("]]", "]").replace("\n", "")
    opening, closing = text.find("<answer>"), text.find("</answer>")
    if opening < 0:
        return None
    inside = text[opening + 8 : closing if closing >= 0 else len(text)]
    inside = inside if inside.endswith("]") else inside.rsplit("},", 1)[0] + "}]"
    items = loads(inside.replace("'", '"'))
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    found = []
    for item in items:
        box = numbers(item.get("Position"), 4)
        score = numbers([item.get("Confidence")], 1)
        if box is None or (score is None and tag_first):
            return None
        found.append(Detection(box, score=score[0] if score else None))  # type: ignore[arg-type]
    return found if found or not tag_first else None


def visual_rft_corners(text: str) -> list[Detection] | None:
    """Visual-RFT's LISA script: of several boxes, the first corners of the first two make the box."""
    number = r"\s*+(\d+)\s*+"
    pairs = re.findall(rf"\({number},{number}\)\s*+,\s*+\({number},{number}\)", text)
    if not pairs:
        return None
    corners = [pair[:2] for pair in pairs] + [pair[2:] for pair in pairs]
    return [Detection(tuple(min(float(side), 1e18) / 1000 for side in (*corners[0], *corners[1])))]  # type: ignore[arg-type]


def perception_r1_numbers(text: str) -> list[Any]:
    """Perception-R1: the first four numbers in one of three spellings, or four zeros."""
    number = r"(-?\d+(?:\.\d+)?)"
    for pattern in (
        rf"\[\s*{number},\s*{number},\s*{number},\s*{number}\s*\]",
        rf"\(\s*{number},\s*{number},\s*{number},\s*{number}\s*\)",
        rf"\(\s*{number},\s*{number}\s*\)\s*,\s*\(\s*{number},\s*{number}\s*\)",
    ):
        found = re.search(pattern, text)
        if found:
            return [float(side) for side in found.groups()]
    return [0, 0, 0, 0]


def fenced_items(text: str, which: str = "last") -> list[Any]:
    """VLM-R1: the items of the JSON in the first or last ```json fence, none if it does not parse."""
    fences = list(tag_texts(text, ("```json", "```")))
    value = loads(fences[0 if which == "first" else -1].strip()) if fences else None
    return list(value) if isinstance(value, list | dict) else []


def clean_text(text: str) -> str:
    """VLM-R1: the last answer on one line, without its final dots, in lower case."""
    text = tag_text(text, which="last", missing="whole", strip=False)
    for char in "\n\r":
        text = re.sub(rf"(?<!\s){char}", " ", re.sub(rf"(?<=\s){char}", "", text))
    return text.strip().rstrip(".").lower()


KEYWORDS = "答案 选择 正确 是 对 answer correct choose select right 认为 应该 觉得 think believe should".upper().split()


def weighed_choice(text: str, pattern: str) -> str | None:
    """VLM-R1, R1-OneVision: of several letters the one with most points, all counted at its first place in the text.

    A point for each keyword within 20 characters, two in the last 30% of the text, one before a punctuation mark; a
    letter that occurs n times gets them n times.
    """
    text = re.sub(r"\s+", " ", text.upper())
    points: dict[str, int] = {}
    counts = Counter(re.findall(pattern, text))
    for letter, count in counts.items():
        place = text.find(letter)
        around = text[max(0, place - 20) : place + 20]
        points[letter] = count * (
            sum(word in around for word in KEYWORDS)
            + 2 * (place > 0.7 * len(text))
            + (place < len(text) - 1 and text[place + 1] in "。.!！,，")
        )
    return max(points, key=lambda letter: points[letter]) if points else None


def perception_r1_format(text: str) -> float:
    """Perception-R1: bars that are not escaped make an alternation of the marks' words."""
    words = ("<", ">", "object_ref_start", "object_ref_end", "box_start", "box_end", "im_end")
    return float(text.replace("<|endoftext|>", "").startswith(words))


def plain_float(text: str) -> float | None:
    """What `float` makes of a text, commas and all else refused."""
    try:
        return float(text[:400])
    except ValueError:
        return None


def temporal_rlt_times(text: str) -> list[tuple[float, float]]:
    """Temporal-RLT: the two times of the first answer's JSON object, as `float` reads them."""
    value = loads(tag_text(text, missing="empty"))
    try:
        return [(float(value["start_time"]), float(value["end_time"]))]
    except (TypeError, ValueError, KeyError, OverflowError):
        return []


def visionary_r1_number(text: str) -> float | None:
    """Visionary-R1: the first run of digits and a point; a hundredth of it if the text ends with a percent sign."""
    found = re.search(r"[-+]?\d*\.?\d+", text)
    return float(found[0][:400]) / (100 if text.strip().endswith("%") else 1) if found else None


def jigsaw_r1_answer(text: str, kind: str, think: bool) -> str | list[float]:
    """Jigsaw-R1: what the pattern of an answer's type finds, else the raw text; a letter is looked for from the end."""
    text = tag_text(text, missing="whole") if think else text.strip()
    if kind == "letter":
        text = text[::-1]
    pattern = {"digit": r"\d+", "letter": r"[A-Z]", "box": INTEGERS, "point": INTEGERS}.get(kind)
    found = re.search(pattern, text) if pattern else None
    if found is None:
        return text
    return [float(side[:300]) for side in found.groups()] if kind in ("box", "point") else found[0]


INTEGERS = r"\s*+".join([r"(\d++),"] * 3 + [r"(\d++)"])


def jigsaw_r1_layout(text: str) -> bool:
    """Jigsaw-R1: the layout, closed by the first closing mark after the first place where an answer may begin."""
    opens = re.search(r"</think>\s*+<answer>", text)
    return bool(tag_format(text)) and opens is not None and text.find("</answer>", opens.end()) + 9 == len(text)


LEAD_INS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:Best option:",
)
"""VideoChat-R1: phrases dropped before a letter is looked for; a comma is missing between the last two."""


def videochat_r1_clips(text: str) -> list[tuple[float, float]] | None:
    """VideoChat-R1: the spans of the first glue tag if it is exactly a list of number pairs, else None."""
    clips = (tag_text(text, "glue", missing="empty", strip=False)).removesuffix("\n")
    number = r"(\d+(?:\.\d+)?)"
    pair = rf"\({number},\s*+{number}\)"
    if not re.fullmatch(rf"\[(?:{pair}(?:,\s*+{pair})*,?)?\]", clips):
        return None
    words = re.findall(r"[\d.]+", clips)
    if any("." not in word and word.startswith("0") and word.strip("0") for word in words):
        return None
    sides = [float(word[:300]) for word in words]
    spans = list(zip(sides[::2], sides[1::2]))
    return spans if all(start <= end for start, end in spans) else None


def videochat_r1_track(text: str) -> list[Any] | None:
    """VideoChat-R1: the first answer if it is a literal list of eight lists of four."""
    boxes = literal(tag_text(text.replace("\n", ""), missing="empty"))
    right = isinstance(boxes, list) and len(boxes) == 8 and all(isinstance(b, list) and len(b) == 4 for b in boxes)
    return boxes if right else None


THINK_WORDS = ("analyze", "compare", "deduce", "however", "therefore", "because", "step")
MORE_THINK_WORDS = ("observe", "notice", "identify", "wait")


def time_r1_think_metrics(text: str) -> dict[str, float]:
    """Time-R1: what it logs of the last thought."""
    thought = tag_text(text, "think", which="last", missing="empty")
    number = r"\d++\.?\d*+"
    ranges = re.search(rf"<timestep>\s*+{number}\s++to\s++{number}\s*+</timestep>", thought, re.IGNORECASE)
    lines = [line for line in thought.split("\n") if line.strip()]
    words = [word for word in (*THINK_WORDS, *MORE_THINK_WORDS) if word in thought.lower()]
    return {
        "reward_timestep_pair": 0.2 * (ranges is not None),
        "reward_think_length": 0.001 * min(len(thought), 500),
        "reward_keyword_usage": 0.1 * min(len(words), 2),
        "reward_paragraph_structure": 0.05 * min(len(lines), 2),
    }


def vision_r1_boxes(text: str) -> list[Detection]:
    """Vision-R1: whole JSON first, its boxes cut to integers; else exactly spaced objects anywhere in the text."""
    lines = text.strip().split("\n")
    items = loads("\n".join(lines[lines[0].startswith("```json") :]).split("```")[0])
    found = []
    for item in items if isinstance(items, list) else []:
        box = item.get("bbox_2d") if isinstance(item, dict) else None
        if isinstance(box, list) and len(box) == 4:
            found += _whole_box(box, item.get("label"))
    if not found:
        exact = r'\{"bbox_2d": \[(\d{1,4}), (\d{1,4}), (\d{1,4}), (\d{1,4})\], "label": "([^"]*)"\}'
        for match in re.finditer(exact, text):
            if all(int(side) <= 1000 for side in match.groups()[:4]):
                found += _whole_box(match.groups()[:4], match[5])
    return found


def _whole_box(box: Any, label: Any) -> list[Detection]:
    try:
        x1, y1, x2, y2 = (int(side) for side in box)
    except (TypeError, ValueError, OverflowError):
        return []
    return [Detection((x1, y1, x2, y2), label)] if x1 < x2 and y1 < y2 else []


def vision_r1_format(text: str) -> bool:
    """Vision-R1: JSON of any kind, unless an item with a name has a box that is no list of four."""
    body = text.replace("```json\n", "").replace("\n```", "").strip()
    value = loads(body)
    if value is None and body != "null":
        return False
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    named = [item["bbox_2d"] for item in items if "bbox_2d" in item and "label" in item]
    return all(isinstance(box, list) and len(box) == 4 for box in named)


def visionreasoner_items(text: str) -> list[Any]:
    """VisionReasoner: the items of the first answer's JSON, none if it does not parse."""
    value = loads(tag_text(text, missing="empty"))
    return value if isinstance(value, list) else []


def visionreasoner_objects(items: Any) -> list[Detection] | None:
    """VisionReasoner: the objects, or none at all if one of them lacks its box or its point."""
    found = []
    for item in items:
        box = numbers(item.get("bbox_2d"), 4) if isinstance(item, dict) else None
        point = numbers(item.get("point_2d"), 2) if isinstance(item, dict) else None
        if box is None or point is None:
            return None
        found.append(Detection(box, point=point))  # type: ignore[arg-type]
    return found or None


def visionreasoner_format(text: str) -> float:
    """VisionReasoner: a mark for a list of four and one for a list of two, averaged over the items."""
    items = visionreasoner_items(text)
    if not items or not all(isinstance(item, dict) for item in items):
        return 0.0
    sizes = (("bbox_2d", 4), ("point_2d", 2))
    marks = [isinstance(item.get(key), list) and len(item[key]) == size for item in items for key, size in sizes]
    return sum(marks) / len(items)


def v_triune_boxes(text: str) -> list[Detection]:
    """V-Triune: the named boxes of the first answer, in lower case, mended as Visual-RFT does, each box once."""
    inside = (tag_text(text, missing="empty")).lower().replace("[[", "[").replace("]]", "]")
    inside = inside if inside.endswith("]") else inside.rsplit("},", 1)[0] + "}]"
    items = loads(inside.replace("'", '"').replace("\\", ""))
    found: dict[tuple[float, ...], Detection] = {}
    for item in items if isinstance(items, list) else []:
        box = numbers(item.get("bbox_2d"), 4) if isinstance(item, dict) else None
        label = item.get("label") if isinstance(item, dict) else None
        if box and isinstance(label, str) and box[0] <= box[2] and box[1] <= box[3]:
            found.setdefault(box, Detection(box, label))  # type: ignore[arg-type]
    return list(found.values())


def v_triune_iou_first(found: list[Detection], true: list[Detection], at_least: float) -> tuple[int, float]:
    """V-Triune: rounds that find the best pair but record and remove the last of each: pairs made, IoU earned."""
    iou = box_iou([d.box for d in found], [d.box for d in true])
    made, earned = 0, 0.0
    for n, m in zip(range(len(found), 0, -1), range(len(true), 0, -1)):
        best = float(iou[:n, :m].max())
        if best < at_least:
            break
        made += 1
        earned += best * ((found[n - 1].label or "").lower() == (true[m - 1].label or "").lower())
    return made, earned


def first_number(text: str) -> float | None:
    """VisualQuality-R1: the first digits of a text, with a sign and a fraction."""
    found = re.search(r"-?\d+(?:\.\d+)?", text)
    return float(found[0][:400]) if found else None


STRINGS = Reading(kinds=("string", "latex", "expr"))


def eureka_accuracy(content: str, body: str, gold: str, read_gold: Reading, letters: str, again: bool = False) -> float:
    """MM-Eureka, Observe-R1: right if the truth cannot be parsed; else by math-verify, else by its only letter.

    again: the body of the answer as it stands may also be the truth's text.
    """
    wanted = maths_in(gold, read=read_gold)
    if not wanted or math_equal(gold, content, read=read_gold, read_gold=STRINGS):
        return 1.0
    if again and body.strip() == wanted[-1].strip():
        return 1.0
    return float(any(only_letter(body, truth, letters=letters) for truth in wanted))


def eureka_content(text: str) -> tuple[str, str]:
    """MM-Eureka, Observe-R1: the first one-line answer with tags, or what follows the last opening tag; and bare."""
    inside = tag_text(text, multiline=False, strip=False)
    content = text.split("<answer>")[-1] if inside is None else f"<answer>{inside}</answer>"
    return content, content.replace("</answer>", "").replace("<answer>", "").strip()


def srpo_accuracy(text: str, gold: str) -> float:
    """SRPO (OpenRLHF): before and after reflection, a fix earns most; the fallback pays 1 for the last alone."""
    answers = [f"<answer>{inside}</answer>" for inside in tag_texts(text, "answer")]
    if not answers:
        return 0.0
    wanted = maths_in(f"${gold}$")
    if not wanted:
        return 1.0
    first, last = (
        bool(math_equal(f"${gold}$", said, read=Reading(), read_gold=STRINGS)) for said in (answers[0], answers[-1])
    )
    value = {(False, True): 1.0, (True, True): 0.75, (True, False): 0.25}.get((first, last), 0.0)
    if len(answers) == 1:
        value = 0.5 * first
    if value:
        return value
    bare = answers[-1].replace("</answer>", "").replace("<answer>", "").strip()
    return float(any(only_letter(bare, truth) for truth in wanted))


def srpo_length(text: str) -> float | None:
    """SRPO: how near the whole is to twice its first solution, in blank-separated words; None where its code fails."""
    thoughts, answers = list(tag_texts(text, "think")), list(tag_texts(text, "answer"))
    if len(thoughts) < 2 or len(answers) < 2:
        return None
    return bell_length(len(text.split()), len(thoughts[0].split()) + len(answers[0].split()))


def vicrit_answer(text: str) -> str | None:
    """ViCrit: the inside of the first box, all but the last character if it stays open; else the last line."""
    if "boxed{" not in text:
        return text.split("\n")[-1]
    start = text.find("\\boxed{")
    if start < 0:
        return None
    inside = boxed(text, first=True)
    return text[start + 7 : -1] if inside is None else inside


def observe_r1_layout(text: str) -> float:
    """Observe-R1: its three tags once each, in a row, or the first of them inside the thought with text around it."""
    once = all(text.count(mark) == 1 for tag in ("observe", "think", "answer") for mark in marks(tag))
    in_a_row = tag_format(text, ("observe", "think", "answer"), before=True, after=True, nonempty=True)
    nested = in_order(
        text, ["(?s)<think>.", "(?s)<observe>.", "(?s)</observe>.", r"(?s)</think>\s*+<answer>.", "</answer>"]
    )
    return float(once and (bool(in_a_row) or nested))
