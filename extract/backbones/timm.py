"""Image networks of timm, with their own data configuration; weights from the Hugging Face hub."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from avr.core import UsageError, check_known, load_extra, sha256_of
from avr.extract.weights import read_weights

from . import Backbone, GridReader, LayerReader, Preprocessing, on_grid
from ._hub import from_hub


class Timm(Backbone):
    """`timm:NAME`, with timm's default weights of it, or `timm:NAME.TAG`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"timm:{name}")
        self._timm, self._own = load_extra("timm", f"--backbone {self.name}"), name
        network, _, tag = name.partition(".")
        check_known("network of timm", network, self._timm.list_models(), listed="what timm.list_models() gives")
        if tag:
            tags = [other.partition(".")[2] for other in self._timm.list_pretrained(f"{network}.*")]
            check_known(f"weights of timm:{network}", tag, tags)
        self._config: Any = self._timm.get_pretrained_cfg(name) or self._timm.models.PretrainedCfg()
        named = self._config.classifier or ()
        self.classifiers = (named,) if isinstance(named, str) else tuple(named)

    def weights(self) -> list[str]:
        return ["DEFAULT"] if self._config.hf_hub_id else []

    def load(self, weights: str) -> tuple[Mapping[str, Any], str]:
        hub = load_extra("huggingface_hub", self.name, extra="timm")
        named = self._config.hf_hub_filename
        names = [named] if named else ["model.safetensors", "pytorch_model.bin"]

        def get(cached: bool) -> Path:
            for name in names[:-1]:
                with suppress(hub.errors.EntryNotFoundError):
                    return Path(hub.hf_hub_download(self._config.hf_hub_id, name, local_files_only=cached))
            return Path(hub.hf_hub_download(self._config.hf_hub_id, names[-1], local_files_only=cached))

        file = from_hub(f"weights {self.name}", get)
        return self.translated(read_weights(file)), sha256_of(file)

    def translated(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Tensors under the names of who trained the network, which timm changes to its own."""
        overlay = {"state_dict": dict(tensors), "source": ""}
        with suppress(Exception):  # whatever the network's own filter raises where it does not know the layout
            model = self._timm.create_model(self._own, pretrained=True, pretrained_cfg_overlay=overlay)
            state: dict[str, Tensor] = model.state_dict()
            return state
        return tensors

    def build(self, weights: str, *, in_channels: int, num_classes: int) -> nn.Module:
        options = {"num_classes": num_classes} if num_classes else {}
        try:  # transformers that lay their positions on another grid take any crop that their patches divide
            model: nn.Module = self._timm.create_model(self._own, dynamic_img_size=True, **options)
        except TypeError:
            model = self._timm.create_model(self._own, **options)
        return model

    def preprocessing(self, weights: str) -> Preprocessing:
        own = self._timm.data.resolve_data_config(pretrained_cfg=self._config.to_dict())
        _, height, width = own["input_size"]
        if height != width:
            raise UsageError(f"{self.name} reads images of {height}×{width}; avr takes squares")
        if own["crop_mode"] == "border":
            raise UsageError(f"{self.name} reads images with borders, which avr does not add")
        side = math.floor(height / own["crop_pct"])
        resize = (side, side) if own["crop_mode"] == "squash" else (side,)
        return Preprocessing(height, resize, own["interpolation"], tuple(own["mean"]), tuple(own["std"]))

    def reader(self, model: nn.Module, layers: Sequence[str]) -> LayerReader:
        for name in self.classifiers:
            model.set_submodule(name, nn.Identity())
        return _Reader(self.name, model, layers)

    def licence(self, weights: str) -> str:
        return self._config.license or ""


class _Reader(GridReader):
    """`pooled` is what `forward_head(…, pre_logits=True)` gives; prefix tokens (class, registers) are in no map."""

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        model: Any = self.graph
        features = model.forward_features(images)
        if not isinstance(features, Tensor) or (features.ndim == 3 and features.shape[1] < 3):  # class tokens alone
            raise UsageError(f"{type(model).__name__} of timm gives no single map; take another backbone")
        pooled = model.forward_head(features, pre_logits=True).flatten(1)
        if features.ndim == 3:
            beyond_square = features.shape[1] - math.isqrt(features.shape[1]) ** 2
            return pooled, on_grid(features[:, getattr(model, "num_prefix_tokens", beyond_square) :])
        channels_last = features.shape[1] != model.num_features == features.shape[3]
        return pooled, features.permute(0, 3, 1, 2) if channels_last else features


BACKBONE = Timm
