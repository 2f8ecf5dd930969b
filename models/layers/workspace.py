"""Memory for the products of a convolution."""

from torch import Tensor


class Workspace:
    """Memory that is used again: freshly allocated pages are many times slower than warm ones."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor; the one taken under the same name before is no longer valid."""
        size = 1
        for n in shape:
            size *= n
        held = self._held.get(name)
        if held is None or held.numel() < size:
            held = self._held[name] = like.new_empty(size)
        return held[:size].view(shape)
