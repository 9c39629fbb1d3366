"""Training backbones: alone, or with a head on top, end to end.

from avr.finetune import finetune_backbone, finetune_end_to_end

result = finetune_backbone(dataset, stream="flow", settings=Settings(backbone="resnet18", segments=3))
extract(dataset, settings=Settings(backbone="resnet18", weights=(f"flow={result.weights}", …)))
finetune_end_to_end("runs/stfn-shapes-1")

The stages are loaded when they are first used: command lines read the settings alone, without torch.
"""

from typing import TYPE_CHECKING, Any

from .tuning import BACKBONE, END_TO_END, END_TO_END_TUNING, UNREAD, Tuning

if TYPE_CHECKING:
    from .backbone import BackboneResult, finetune_backbone
    from .end_to_end import EndToEndResult, finetune_end_to_end

__all__ = [
    "BACKBONE",
    "END_TO_END",
    "END_TO_END_TUNING",
    "UNREAD",
    "BackboneResult",
    "EndToEndResult",
    "Tuning",
    "finetune_backbone",
    "finetune_end_to_end",
]
_PLACES = {
    "BackboneResult": "backbone",
    "EndToEndResult": "end_to_end",
    "finetune_backbone": "backbone",
    "finetune_end_to_end": "end_to_end",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
