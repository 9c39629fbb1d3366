"""Training backbones: alone, or with a head on top, end to end.

from avr.finetune import finetune_backbone, finetune_end_to_end

result = finetune_backbone(dataset, stream="flow", settings=Settings(backbone="resnet18", segments=3))
extract(dataset, settings=Settings(backbone="resnet18", weights=(f"flow={result.weights}", …)))
finetune_end_to_end("runs/stfn-shapes-1")
"""

from .backbone import BackboneResult, finetune_backbone
from .end_to_end import finetune_end_to_end
from .record import EndToEndResult
from .tuning import Tuning

__all__ = ["BackboneResult", "EndToEndResult", "Tuning", "finetune_backbone", "finetune_end_to_end"]
