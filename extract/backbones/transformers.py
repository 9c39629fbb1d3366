"""Networks of transformers over clips and images, from the Hugging Face hub or a local folder.

`tokens` are the last hidden state without class and register tokens; `map` lays them back on their grid. `pooled` is
the model's own pooled output where it has one that was trained (CLIP, SigLIP, DINOv2), else the class token, else the
mean over tokens.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avr.core import UsageError, WorkError, load_extra, message_of, sha256_of
from avr.extract.weights import HELP, read_weights

from . import Backbone, GridReader, LayerReader, Preprocessing, on_grid, tokens_of
from ._hub import from_hub

# Of each model the first kind of weights that it has; none holds code.
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


class Transformers(Backbone):
    """`transformers:OWNER/NAME` of the hub, or `transformers:FOLDER`, as `save_pretrained` writes it."""

    def __init__(self, name: str) -> None:
        folder = Path(name).expanduser()
        if folder.is_dir():
            self.folder = folder.resolve()
            super().__init__(f"transformers:{self.folder.name}")
        elif name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"--backbone transformers:{name}: no such folder")
        else:
            super().__init__(f"transformers:{name}")
        self._transformers = load_extra("transformers", f"--backbone {self.name}")

    @cached_property
    def _config(self) -> Any:
        """Of the network that reads images: CLIP's and SigLIP's text towers are left out."""
        instead = "give a folder that holds it, --backbone transformers:FOLDER"
        place = self._place("config.json", instead=instead)
        with self._quiet():
            config = self._read(self._transformers.AutoConfig, place)
        return getattr(config, "vision_config", config)

    def _place(self, *needed: str, instead: str = HELP) -> Path:
        """The folder of the network's files, of which one matches what is needed; downloaded if need be."""
        if self.folder is not None:
            return self.folder
        hub = load_extra("huggingface_hub", self.name, extra="transformers")
        repository = self.name.partition(":")[2]

        def get(cached: bool) -> Path:
            for pattern in needed:  # the first kind that there is
                patterns = ["*.json", pattern]
                place = Path(hub.snapshot_download(repository, allow_patterns=patterns, local_files_only=cached))
                if any(place.glob(pattern)):
                    return place
            raise FileNotFoundError(f"it has no {' or '.join(needed)}")

        return from_hub(self.name, get, instead=instead)

    def _read(self, kind: Any, place: Path) -> Any:
        """What one of the library's classes makes of the folder's files."""
        try:
            return kind.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # whatever the library raises of a folder that is another's
            raise UsageError(f"{place}: no network of transformers ({message_of(error)})") from error

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Without the library's reports and bars: what does not fit is found out by who fits the tensors."""
        logging = self._transformers.utils.logging
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()

    @property
    def local(self) -> bool:
        return "/" not in self.name  # of the hub, OWNER/NAME

    @property
    def frames(self) -> int:
        return int(getattr(self._config, "num_frames", 0) or getattr(self._config, "frames_per_clip", 0))

    @cached_property
    def _class(self) -> Any:
        mapping = self._transformers.MODEL_MAPPING
        if type(self._config) not in mapping:
            raise UsageError(f"{self.name} is no network that reads images or clips")
        return mapping[type(self._config)]

    @property
    def _options(self) -> dict[str, Any]:
        # Its weights are seldom there, and nobody's classifier reads it.
        return {"add_pooling_layer": False} if "add_pooling_layer" in _takes(self._class.__init__) else {}

    def weights(self) -> list[str]:
        return ["DEFAULT"]

    def load(self, weights: str) -> tuple[Mapping[str, Any], str]:
        place = self._place(*_WEIGHTS)
        files = next((found for pattern in _WEIGHTS if (found := sorted(place.glob(pattern)))), [])
        if not files:
            raise WorkError(f"{place}: holds no {' or '.join(_WEIGHTS)}; {HELP}")
        tensors = {name: value for file in files for name, value in read_weights(file).items()}
        hashes = [sha256_of(file) for file in files]
        return self.translated(tensors), hashes[0] if len(files) == 1 else sha256("".join(hashes).encode()).hexdigest()

    def translated(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Tensors under the names of the checkpoint, which the library changes to those of its own classes."""
        given: Any = {"config": self._config, "state_dict": dict(tensors), "output_loading_info": True, **self._options}
        with self._quiet(), suppress(Exception):  # whatever the library raises where it does not know the layout
            model, said = self._class.from_pretrained(None, **given)
            state = _encoder(model).state_dict()
            return {name: value for name, value in state.items() if name not in said["missing_keys"]}
        return tensors

    def build(self, weights: str, *, in_channels: int, num_classes: int) -> nn.Module:
        if num_classes:
            raise UsageError(f"{self.name} has no classifier to train; take a backbone of torchvision or timm")
        with self._quiet():
            model = _encoder(self._class(self._config, **self._options))
        for module in model.modules():
            if hasattr(module, "num_channels"):  # each compares it with its input
                setattr(module, "num_channels", in_channels)  # noqa: B010
        return model

    def preprocessing(self, weights: str) -> Preprocessing:
        kinds = self._transformers.AutoVideoProcessor, self._transformers.AutoImageProcessor
        place = self._place("*processor_config.json")
        with self._quiet():
            own = self._read(kinds[0] if self.frames else kinds[1], place)
            # Two frames of one value tell how values are changed, and which square is left.
            seen = [self._seen(own, value) for value in (0, 255)]
        low, high = (one.flatten(1)[:, 0].double() for one in seen)
        if seen[0].shape[1] != seen[0].shape[2]:
            raise UsageError(f"{self.name} reads frames of any shape; avr takes squares")
        size = own.size
        resize = (size["shortest_edge"],) if size.get("shortest_edge") else (size["height"], size["width"])
        if len(resize) == 1 and resize[0] < 384 and hasattr(own, "crop_pct"):  # ConvNeXt's rule
            resize = (int(resize[0] / own.crop_pct),)
        mean, std = (tuple(round(float(v), 6) for v in values) for values in (-low / (high - low), 1 / (high - low)))
        return Preprocessing(seen[0].shape[1], resize, "bilinear" if int(own.resample) == 2 else "bicubic", mean, std)

    def _seen(self, processor: Any, value: int) -> Tensor:
        frame = torch.full((3, 480, 640), value, dtype=torch.uint8)
        if self.frames:
            made = processor([frame[None]], return_tensors="pt", do_sample_frames=False)
        else:
            made = processor(frame, return_tensors="pt")
        seen: Tensor = made[self._class.main_input_name].flatten(0, -4)[0]
        return seen

    def reader(self, model: nn.Module, layers: Sequence[str]) -> LayerReader:
        return _Reader(self.name, model, layers)


class _Reader(GridReader):
    def __init__(self, name: str, graph: Any, layers: Sequence[str]) -> None:
        super().__init__(name, graph, layers)
        takes = _takes(graph.forward)
        self.options = {option: True for option in ("interpolate_pos_encoding", "skip_predictor") if option in takes}

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        model: Any = self.graph
        pixels = images.transpose(1, 2) if images.ndim == 5 else images  # (B, T, 3, H, W)
        found = model(**{model.main_input_name: pixels}, **self.options)
        grid, first = found.last_hidden_state, None
        if grid.ndim == 3:
            grid, first = self._grid(grid, pixels)
        pooled = getattr(found, "pooler_output", None)
        if pooled is None:
            pooled = tokens_of(grid).mean(1) if first is None else first
        return pooled.flatten(1), grid

    def _grid(self, hidden: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The patches' tokens on their grid, `(B, D, h, w)` or `(B, D, t, h, w)`, and the class token, if there is one.

        What comes before the patches is class and registers.
        """
        config: Any = self.graph.config
        patch = getattr(config, "patch_size", 1)
        tube = getattr(config, "tubelet_size", 1)
        patch, tube = (tube[1], tube[0]) if isinstance(tube, Sequence) else (patch, tube)
        times = pixels.shape[1] // tube if pixels.ndim == 5 else 0
        side = pixels.shape[-1] // (patch[0] if isinstance(patch, Sequence) else patch)
        before = max(0, hidden.shape[1] - max(times, 1) * side * side)
        tokens = hidden[:, before:]
        if config.model_type == "timesformer":  # its tokens go place by place
            tokens = tokens.reshape(len(tokens), -1, times, tokens.shape[2]).transpose(1, 2).flatten(1, 2)
        return on_grid(tokens, times), hidden[:, 0] if before else None


def _takes(function: Any) -> Sequence[str]:
    return tuple(inspect.signature(function).parameters)


def _encoder(model: nn.Module) -> nn.Module:
    """The network without what only its own training needs: V-JEPA 2's predictor."""
    if hasattr(model, "predictor"):
        del model.predictor
    return model


BACKBONE = Transformers
