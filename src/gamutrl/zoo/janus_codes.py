"""The tokenizer of `janus-tiny` in the modules of VAR's: what that of `var-tiny` and `mask-tiny` begins as.

A convolution of one pixel next to one of three is one of three: each such pair is written as one. What comes back is
not quite the same: a bias counts at the border where it did not, and vectors are not brought to length 1.
"""

from __future__ import annotations

import re

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from gamutrl.policies.next_scale import Tokenizer, TokenizerConfig
from gamutrl.zoo import janus
from gamutrl.zoo.packaged import path

CONFIG = TokenizerConfig(
    scales=(janus.EDGE,), codes=janus.CODES, latent=8, channels=32, multipliers=janus.TINY.levels, blocks=1
)
"""24-pixel pictures as 6 × 6 codes."""

LENGTH = 5.0
"""How long their encoder's vectors are in the mean; they are looked up as if all had length 1."""

_HERE = "model.vqmodel."
_IDENTITIES = ("quant_conv", "post_quant_conv", "quantize.quant_resi")


def tokenizer() -> Tokenizer:
    """The packaged one, without gradients."""
    packaged = load_file(path("janus-tiny") / "model.safetensors")
    taken = Tokenizer(CONFIG)
    taken.quantize.quant_resi.pass_on()
    for name, parameter in [*taken.quant_conv.named_parameters(), *taken.post_quant_conv.named_parameters()]:
        torch.nn.init.dirac_(parameter) if name == "weight" else torch.nn.init.zeros_(parameter)
    theirs = {key.removeprefix(_HERE): value.float() for key, value in packaged.items() if key.startswith(_HERE)}
    state = taken.state_dict()
    taken.load_state_dict(state | {name: _of(theirs, name) for name in state if not name.startswith(_IDENTITIES)})
    return taken.requires_grad_(False)


def _of(theirs: dict[str, Tensor], name: str) -> Tensor:
    """The value that a parameter has, from theirs."""
    last = len(CONFIG.multipliers) - 1
    # Levels of the decoder are numbered from the smallest map on, not from the largest.
    key = re.sub(r"(?<=decoder\.up\.)\d+", lambda found: str(last - int(found[0])), name)
    after, before = theirs["quant_conv.weight"][:, :, 0, 0], theirs["post_quant_conv.weight"][:, :, 0, 0]
    match name:
        case "quantize.embedding.weight":
            return F.normalize(theirs[key], dim=-1)
        case "encoder.conv_out.weight":
            return torch.einsum("oc,cihw->oihw", after, theirs[key]) / LENGTH
        case "encoder.conv_out.bias":
            return (after @ theirs[key] + theirs["quant_conv.bias"]) / LENGTH
        case "decoder.conv_in.weight":
            return torch.einsum("ochw,ci->oihw", theirs[key], before)
        case "decoder.conv_in.bias":
            first = theirs["decoder.conv_in.weight"].sum((2, 3))
            return theirs[key] + first @ theirs["post_quant_conv.bias"]
    return torch.cat([theirs[key.replace("qkv", one)] for one in "qkv"]) if "qkv" in key else theirs[key]
