"""Layers that several heads share; each works alone and has its own tests."""

from .fusion3d import Fusion3d, interleave, narrow_last
from .ln_lstm import Cell, LayerNormLSTM
from .pyramid import FactorisedConv3d, MultiScaleConv3d, temporal_pyramid
from .sru import SRU, SRULayer

__all__ = [
    "SRU",
    "Cell",
    "FactorisedConv3d",
    "Fusion3d",
    "LayerNormLSTM",
    "MultiScaleConv3d",
    "SRULayer",
    "interleave",
    "narrow_last",
    "temporal_pyramid",
]
