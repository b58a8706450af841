"""What a step passes from hand to hand: prompts, rollouts, batches, and the context of a step.

Below every other room: nothing here knows a model, a task or a paper.
"""

from gamutrl.core.batch import Batch
from gamutrl.core.context import Context, ResponderError
from gamutrl.core.prompt import Message, Part, Prompt, Source, audio, image, text, video
from gamutrl.core.rollout import Call, Rollout, Row, Turn
from gamutrl.core.sampling import Sampling

__all__ = [
    "Batch",
    "Call",
    "Context",
    "Message",
    "Part",
    "Prompt",
    "ResponderError",
    "Rollout",
    "Row",
    "Sampling",
    "Source",
    "Turn",
    "audio",
    "image",
    "text",
    "video",
]
