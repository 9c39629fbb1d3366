"""Training backbones: alone, or with a head on top, end to end.

from avr.finetune import finetune_backbone, finetune_end_to_end

settings = Settings(kind="flow", backbone="resnet18", segments=3)
result = finetune_backbone(dataset, stream="flow", settings=settings)
extract(dataset, streams={"flow": Settings(kind="flow", backbone="resnet18", weights=str(result.weights))})
finetune_end_to_end("runs/stfn-shapes-1")

The stages are loaded when they are first used: command lines read the settings alone, without torch.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .tuning import BACKBONE, END_TO_END, END_TO_END_TUNING, UNREAD, Tuning

if TYPE_CHECKING:
    from .backbone import PAPER, BackboneResult, finetune_backbone
    from .end_to_end import EndToEndResult, finetune_end_to_end
else:
    __getattr__, __dir__ = lazy(__name__)
