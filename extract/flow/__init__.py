"""Optical flow: one file a method, found by its name (`tvl1.py` = `--flow tvl1`).

A method takes whole batches, of pairs from any number of videos, and gives each pair's flow in pixels, x then y: a
point at (x, y) of the previous frame is at (x + flow[0], y + flow[1]) of the following one.
"""

from ._encode import encode_flow, encoded_flows
from ._method import FlowMethod, load
