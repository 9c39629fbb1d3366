"""What tests of how an extraction runs tell it, where what it computes matters little: milliseconds a video."""

TOLD = {
    "backbone": "squeezenet1_1",
    "weights": "random",
    "layers": ("pooled",),
    "segments": 2,
    "stack": 2,
    "resize": 48,
    "crop": 40,
}
