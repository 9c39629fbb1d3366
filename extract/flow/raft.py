"""RAFT (Teed and Deng, ECCV 2020), torchvision's, learnt: for a GPU; minutes a video on a CPU."""

from pathlib import Path

import torch
from torch import Tensor

from avr.core import UsageError, WorkError
from avr.extract.weights import download, find_state, read_weights

from ._method import FlowMethod, in_slices, padded

DESCRIPTION = "RAFT, learnt, torchvision: for a GPU"

NAME = "raft_small"
UPDATES = 12  # how often the flow is refined, as torchvision does
SMALLEST_SIDE = 128  # pixels: torchvision's correlation pyramid needs an eighth of the frame to be at least 16
MULTIPLE = 8  # pixels, of each side
BATCH_PIXELS = 32 * 320 * 240
INSTEAD = "give a file (--flow raft=FILE) or --flow raft=random"


def build(device: str = "cpu", *, weights: str = "DEFAULT") -> FlowMethod:
    """torchvision's `raft_small`.

    Args:
        device: "cpu" or "cuda" …
        weights: the name of a member of torchvision's enum ("DEFAULT", "C_T_V2", …: downloaded once), a file
            (safetensors, or a `weights_only` .pth state dict), or "random".

    Raises:
        UsageError: weights that are neither a file nor a member's name.
        WorkError: weights that cannot be downloaded or do not fit the network.
    """
    place = torch.device(device)
    network = _network(weights).to(place).eval()

    @torch.inference_mode()
    def solve(previous: Tensor, following: Tensor) -> Tensor:
        flow: Tensor = network(_scaled(previous), _scaled(following), num_flow_updates=UPDATES)[-1]
        return flow

    sliced = in_slices(padded(solve, SMALLEST_SIDE, MULTIPLE), BATCH_PIXELS)
    return FlowMethod("raft", sliced, needs_colour=True, backend="torchvision", device=device)


def _scaled(frames: Tensor) -> Tensor:
    """(P, H, W, 3) uint8 to (P, 3, H, W) in -1 … 1, what the weights' own preprocessing gives."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def _network(weights: str) -> torch.nn.Module:
    from torchvision.models import get_model, get_model_weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: torch.nn.Module = get_model(NAME, weights=None)
    if weights == "random":
        return network
    members = get_model_weights(NAME).__members__
    if Path(weights).is_file():
        state = find_state(network, read_weights(Path(weights))).tensors
    elif weights in members:
        state, _ = download(members[weights], f"{NAME} {weights}", instead=INSTEAD)
    else:
        raise UsageError(f"no weights '{weights}' for {NAME}: neither a file nor one of {', '.join(members)}, random")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WorkError(f"the weights {weights} do not fit {NAME}: {str(error).splitlines()[-1].strip()}") from error
    return network
