"""Environments of systems that think with images: each one's tools, notation, replies and budget, as published.

Each function gives a `Toolbox`, whose fields can be replaced. `frame` is the size in which a model writes coordinates
(None: the pixels of the picture that it was shown; a small model's own view where it sees all pictures in one size).
`instruction` is what is said again with every answer. A constant tells a model of tools, for its system prompt: it says
what the published ones say, in words of our own.
"""

from __future__ import annotations

from collections.abc import Mapping

from gamutrl.environments import reading
from gamutrl.environments.desk import Tool
from gamutrl.environments.toolbox import Budget, Reply, Toolbox
from gamutrl.environments.tools.crop import Crop, CropAround, Enlarged, Grown, InPicture, Padded, Rotate, View, Widened
from gamutrl.environments.tools.draw import DrawItems
from gamutrl.environments.tools.frames import PickFrames

Frame = tuple[float, float] | tuple[str, str] | None

ZOOM_IN = (
    "You may call a tool that shows a part of the picture enlarged.\n<tools>\n"
    '{"type": "function", "function": {"name": "image_zoom_in_tool", "parameters": {"type": "object", "properties": '
    '{"bbox_2d": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4, "description": '
    '"[x1, y1, x2, y2] in pixels of the picture"}, "label": {"type": "string"}}, "required": ["bbox_2d"]}}}\n</tools>\n'
    'Write a call so: <tool_call>{"name": "image_zoom_in_tool", "arguments": {…}}</tool_call>'
)
CROP_OR_FRAMES = (
    "You are a helpful assistant.\n\n# Tools\nYou may call these functions.\n<tools>\n"
    '{"name": "crop_image_normalized", "description": "Shows a part of a picture.", "arguments": {"bbox_2d": '
    '"[x1, y1, x2, y2], each from 0 to 1", "target_image": "which of the pictures so far, from 1"}}\n'
    '{"name": "select_frames", "description": "Shows frames of a clip.", "arguments": {"target_frames": "at most 8 of '
    'the 16 frames, from 1"}}\n</tools>\nWrite a call so: <tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>'
)


def zoom(
    *, frame: Frame = None, instruction: str = "", turns: int = 5, least: float = 30, square: bool = False
) -> Toolbox:
    """Zooming into the original picture, one call a turn; an error is told and the rollout goes on.

    least: the sides of a box must be longer. Source: DeepEyes (2505.14362).
    """
    crop = Crop(InPicture(least), frame=frame, square=square)
    return Toolbox(
        {"image_zoom_in_tool": crop, "image_rotate_tool": Rotate()},
        reading.last_call,
        Reply(shown=f"<tool_response>{{pictures}}{instruction}</tool_response>", failed="Error: {error}"),
        Budget(turns=turns),
    )


def zoom_or_frames(
    *,
    frame: Frame = None,
    least: float = 28,
    calls: int = 4,
    pictures: int = 16,
    square: bool = False,
    select: PickFrames = PickFrames(),
) -> Toolbox:
    """Crops of any picture seen so far, and frames of a clip; a turn that does not end with a call is the answer.

    Source: Pixel-Reasoner (2505.15966).
    """
    crop = Crop(Padded(longer_than=least), View(), frame=frame, of="target", square=square)
    return Toolbox(
        {"crop_image_normalized": crop, "select_frames": select},
        reading.closing_call,
        Reply(
            shown="Here is the cropped image (Image Size: {width}x{height}):{pictures}",
            failed="Execution error:\n{error}",
            by_tool={
                "select_frames": "Here are the selected frames (Frame Size: {width}x{height}, "
                "Numbered {first} to {last}):{pictures}"
            },
        ),
        Budget(turns=None, calls=calls, pictures=pictures),
    )


def zoom_several(
    *,
    frame: Frame = None,
    instruction: str = "",
    turns: int = 4,
    enlarge: float = 1.5,
    view: View = View(2.0, 28, 112**2, 5120 * 28**2),
    square: bool = False,
) -> Toolbox:
    """Zooming into the original picture, several calls a turn, each box grown and shown enlarged.

    Source: Chain-of-Focus (2505.15436).
    """
    crop = Crop(Enlarged(enlarge), view, frame=frame, square=square)
    return Toolbox(
        {"image_zoom_in_tool": crop},
        reading.every_call,
        Reply(failed="Error: {error}", after=instruction),
        Budget(turns=turns),
    )


def evidence(
    *, frame: Frame = None, instruction: str = "", turns: int = 5, least: int = 28, square: bool = False
) -> Toolbox:
    """A crop of the first box of each turn, whatever stands around it, until an answer is begun.

    Without a box the whole picture is shown. Source: Ground-R1 (2505.20272).
    """
    crop = Crop(Widened(least), frame=frame, square=square)
    return Toolbox({"crop": crop}, reading.first_box, Reply(after=instruction), Budget(turns=turns))


def points(
    *,
    frame: Frame = None,
    half: float = 182,
    side: int = 672,
    dot: int = 0,
    pictures: int = 5,
    prefill: str = "<think> Based on all the information I have gathered, I'll now provide my final answer. </think>\n"
    "<answer>",
) -> Toolbox:
    """The surroundings of a point a turn; where no more pictures fit, the answer is begun for the model.

    Source: ViGoRL (2505.23678).
    """
    dotted = " The red dot marks the coordinate." if dot else ""
    return Toolbox(
        {"search_coordinate": CropAround(half, side, dot, frame=frame)},
        reading.last_call,
        Reply(
            shown=f"<observation>\nHere is a crop of the image centered on the coordinate.{dotted}\n{{pictures}}"
            "</observation>",
            failed="<observation>\nError: {error}\n</observation>",
        ),
        Budget(turns=2 * pictures, pictures=pictures),
        prefill=prefill,
    )


def drawing(
    *, frame: Frame = None, turns: int = 10, pictures: int = 42, width: int = 4, labels: bool = True
) -> Toolbox:
    """Boxes and arrows that the model draws and sees; a turn that draws nothing valid ends the rollout.

    Source: ViLaSR (2506.09965).
    """
    return Toolbox(
        {"draw": DrawItems(frame, width, labels)},
        reading.drawn_items,
        Reply(
            shown="{pictures}The index of the given image is {first} (width: {width}, height: {height}). ",
            after="Continue your reasoning, and check critically what you have drawn.",
            last="Give your final answer now, without drawing.",
        ),
        Budget(turns=turns, pictures=pictures),
        ends=("nothing", "unreadable", "failed"),
    )


def chart_actions(tools: Mapping[str, Tool], *, rounds: int = 6, pictures: int | None = 6) -> Toolbox:
    """JSON actions, the first of each turn, on the newest picture, until the word "Terminate".

    A turn without an action is answered with the question. tools: see `tools.charts`. Source: OpenThinkIMG
    (2505.08617).
    """
    return Toolbox(
        tools,
        reading.first_action,
        Reply(
            shown="OBSERVATION: {tool} model outputs: {text}\n{pictures}"
            "Please summarize the model outputs and answer my first question.",
            failed="OBSERVATION: {tool} model outputs: Error: {error}\n"
            "Please summarize the model outputs and answer my first question.",
            nothing="{question}",
        ),
        Budget(turns=rounds, pictures=pictures),
        ends=(),
        any_case=True,
    )


def searching(
    search: Tool,
    *,
    frame: Frame = None,
    turns: int = 5,
    grow: float = 0,
    view: View = View(1.0, 28, 256 * 28**2, 512 * 28**2),
    square: bool = False,
) -> Toolbox:
    """Searching pages and cropping what was found, from its full resolution, until an answer.

    Of a turn only its tagged blocks stay. search: see `tools.pages`. turns: the last of them may only answer. grow:
    pixels that a crop is widened by. Source: VRAG-RL (2505.22019).
    """
    rules = (
        "Your previous action is invalid. You must conduct reasoning inside <think> and </think> first every time you "
        "get new information. After reasoning, if you find you lack some knowledge, you can call a search engine by "
        "<search> query </search>, or crop an image that was found by <bbox>[x1, y1, x2, y2]</bbox>; if not, provide "
        "the answer inside <answer> and </answer>. Please try again."
    )
    crop = Crop(Grown(grow), view, frame=frame, of="newest", by=("search",), square=square)
    return Toolbox(
        {"search": search, "crop": crop},
        reading.tagged_action,
        Reply(failed=rules, nothing=rules),
        Budget(turns=turns),
        ends=(),
    )
