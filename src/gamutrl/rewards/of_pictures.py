"""Rewards of pictures, ready to be named: `--reward gamutrl.rewards.of_pictures:PICK_SCORE`.

Those of rules need the columns that GenEval has; those of models bring the published model when they first score.
"""

from __future__ import annotations

from gamutrl.rewards.asking import JudgedPicture, WrittenWords, YesProbability
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.detector import OpenDetector
from gamutrl.rewards.models.embedding import AestheticScore, ClipScore, hps_score, pick_score
from gamutrl.rewards.models.image_reward import ImageReward
from gamutrl.rewards.shown import DigitShown, GenEval, LayoutOverlap, Shown

SHOWN = Reward("shown", Shown())
SHOWN_IN_PART = Reward("shown_in_part", Shown(partial=True))
LAYOUT = Reward("layout", LayoutOverlap())
DIGIT = Reward("digit", DigitShown(certain=True))
DIGIT_PROBABILITY = Reward("digit_probability", DigitShown(), differentiable=True)

CLIP_SCORE = Reward("clip_score", ClipScore(), differentiable=True)
PICK_SCORE = Reward("pick_score", pick_score(), differentiable=True)
HPS = Reward("hps", hps_score(), differentiable=True)
AESTHETIC = Reward("aesthetic", AestheticScore(), differentiable=True)
IMAGE_REWARD = Reward("image_reward", ImageReward(), differentiable=True)
DETECTED = Reward("detected", Shown(OpenDetector(), exact=False))
DETECTED_IN_PART = Reward("detected_in_part", Shown(OpenDetector(), partial=True, exact=False))
GENEVAL = Reward("geneval", GenEval(OpenDetector()))

OCR = Reward("ocr", WrittenWords())
JUDGED = Reward("judged", JudgedPicture())
YES = Reward("yes", YesProbability())
"""Of the last three, a responder `reader`, a responder `judge` and a model `judge` must be named by the preset."""
