"""Loading: a hub id or a folder to a model and its processor, with the choices that a machine calls for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from gamutrl.policies.models import Lora

P = TypeVar("P", bound=ProcessorMixin)


def load(
    name_or_path: str | Path, *, dtype: str | torch.dtype, device: str | torch.device, lora: Lora | None
) -> tuple[nn.Module, ProcessorMixin]:
    """A model (with its adapter, if it has or gets one) and its processor.

    dtype "auto": float32 on a CPU, bfloat16 on an accelerator that computes in it, else float32. device "auto": the
    accelerator if there is one. A folder with an adapter alone (as `save` writes it) finds its base model by itself.
    """
    name = str(name_or_path)
    adapter = Path(name) / "adapter_config.json"
    base = json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"] if adapter.is_file() else name
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    try:
        config = AutoConfig.from_pretrained(base)
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=kind, config=config)
        processor = load_processor(name if adapter.is_file() else base, config.model_type)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name!r} can't be loaded as an image-text-to-text model. Give a hub id or a folder with config.json, "
            f"safetensors weights and the processor's files. The loader says: {error}"
        ) from error
    module: nn.Module = model
    module.to(place)
    if adapter.is_file():
        from peft import PeftModel

        module = PeftModel.from_pretrained(model, name, is_trainable=True)
    elif lora is not None:
        module = adapted(model, lora)
    return module, processor


@cache
def images_only(processor: type[P]) -> type[P]:
    """The same processor without its video part, which needs torchvision; clips then go in as frames."""
    parts = [name for name in processor.get_attributes() if name != "video_processor"]
    return type(processor.__name__, (processor,), {"get_attributes": classmethod(lambda cls: list(parts))})


def load_processor(name: str, model_type: str) -> ProcessorMixin:
    """A model's processor; without torchvision, one without its video part."""
    known: Any = PROCESSOR_MAPPING_NAMES.get(model_type)
    named = Path(name) / "processor_config.json"
    if named.is_file():
        known = json.loads(named.read_text("utf-8")).get("processor_class", known)
    kind = getattr(transformers, known, None) if known else None
    if kind is not None and not is_torchvision_available() and "video_processor" in kind.get_attributes():
        return images_only(kind).from_pretrained(name)
    return AutoProcessor.from_pretrained(name)


def adapted(model: PreTrainedModel, lora: Lora) -> nn.Module:
    """The model with a fresh adapter. Raises ValueError where there is no layer to adapt."""
    from peft import LoraConfig, get_peft_model

    targets = list(lora.targets)
    if not targets:
        language = [name for name, _ in model.named_modules() if name.endswith(("language_model", "text_model"))]
        inside = tuple(f"{name}." for name in language)
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        targets = [name for name in linear if name.startswith(inside) and "vision" not in name]
    if not targets:
        raise ValueError("No linear layer of a language model was found for the adapter; name them in lora.targets.")
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets)  # type: ignore[arg-type]
    return get_peft_model(model, config)


def pick_device(device: str | torch.device) -> torch.device:
    """The named device; "auto": the accelerator if there is one."""
    if device != "auto":
        return torch.device(device)
    return (torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None) or torch.device(
        "cpu"
    )


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The named dtype; "auto": float32 on a CPU, bfloat16 on an accelerator that computes in it."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"dtype must be 'auto' or a torch dtype such as 'bfloat16', not {dtype!r}.")
        return found
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float32
    return torch.float32 if device.type in ("cpu", "mps") else torch.bfloat16


@contextmanager
def without_message(logger: str, part: str) -> Iterator[None]:
    """What a library logs with these words in it is left out, as long as the block runs; all else is still said."""

    def other(record: logging.LogRecord) -> bool:
        return part not in record.getMessage()

    source = logging.getLogger(logger)
    source.addFilter(other)
    try:
        yield
    finally:
        source.removeFilter(other)
