"""Files of the Hugging Face hub, from its cache or downloaded."""

from collections.abc import Callable
from typing import TypeVar

from avr.core import WorkError, load_extra, message_of
from avr.extract.weights import HELP

Got = TypeVar("Got")


def from_hub(name: str, get: Callable[[bool], Got], *, instead: str = HELP) -> Got:
    """What `get` gives when it may look into the cache alone (True), else when it may download (False).

    Raises:
        WorkError: the hub cannot be reached, or does not have it; `instead` is what to do.
    """
    hub = load_extra("huggingface_hub", name, extra="timm")
    try:
        return get(True)
    except Exception:  # whatever is raised where something is not in the cache
        pass
    try:
        # Asked once: a download would try six times, for a minute or two.
        hub.get_session().head(hub.constants.ENDPOINT, timeout=10)
        return get(False)
    except Exception as error:
        raise WorkError(f"{name} cannot be downloaded ({message_of(error)}); {instead}") from error
