"""Kernels of other libraries for the channelwise product: asked for by name, checked before use, left when they fail.

Both libraries speed up products with a weight for every channel; a fully connected product with weights for every
edge is their slow form, and slower than `models.layers.aggregate`. So `conv: full` takes no kernels.
"""

import logging
import math
from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from configs.options import Kernels
from models.layers.channelwise_paths import ChannelwisePaths, messages_by_edge

logger = logging.getLogger(__name__)

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""Takes and gives what `messages_by_edge` does, without the paths."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Largest difference from the plain formula, relative to its largest number, that passes the check."""

FAILURES: tuple[type[Exception], ...] = (
    *(ImportError, OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    ArithmeticError,
)
"""What a library may raise where it does not work."""


@cache
def checked_kernel(
    library: Kernels, paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device
) -> Kernel | None:
    """The library's kernel for a product; None for `torch`, and where the library is absent, fails or is wrong.

    It is built and compared with the plain formula once for each product, precision and device.
    """
    if library == "torch":
        return None
    try:
        kernel = BUILDERS[library](paths, dtype, device)
        off = largest_difference(kernel, paths, dtype, device)
    except FAILURES as error:
        reason = (str(error).splitlines() or [""])[0]
        warn_once(library, device, f"{type(error).__name__}: {reason}", isinstance(error, ModuleNotFoundError))
        return None
    limit = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    if not off <= limit:  # so that NaN fails
        warn_once(library, device, f"its results differ from the plain ones by {off:.1g}, at most {limit:g} passes")
        return None
    return kernel


@cache
def warn_once(library: str, device: torch.device, reason: str, absent: bool = False) -> None:
    """Say loudly, but once, that a library is not used."""
    way_out = (
        f"install it (pip install 'ligare[{library}]') or leave out --kernels" if absent else "leave out --kernels"
    )
    logger.warning(
        "--kernels %s is NOT used on %s, torch is: %s. To be rid of this: %s", library, device, reason, way_out
    )


def largest_difference(kernel: Kernel, paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device) -> float:
    """Largest relative difference of outputs and gradients from the plain formula, on a small random graph."""
    draw = torch.Generator().manual_seed(0)
    n, edges = 6, 17

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(device, dtype).requires_grad_()

    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        given = (
            random(n, paths.space_in.width),
            random(edges, paths.filter_starts[-1]),
            random(edges, paths.weight_numel),
        )
        probe = random(n, paths.width).detach()
        ends = (torch.randint(n, (2, edges), generator=draw)).to(device)
        results = []
        for product in (kernel, lambda *arguments: messages_by_edge(paths, *arguments)):
            out = product(*given, ends[0], ends[1], n)
            results.append([out, *torch.autograd.grad((out * probe).sum(), given)])
        return max(float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in zip(*results, strict=True))


def cuequivariance_kernel(
    paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device, method: str = "uniform_1d"
) -> Kernel:
    """NVIDIA's cuequivariance: the product as a polynomial in segments of equally many channels.

    Args:
        method: of `cuequivariance_torch.SegmentedPolynomial`; "naive" runs anywhere, slowly.
    """
    if method != "naive":
        need_cuda(device)
        import_module("cuequivariance_ops_torch")  # without it the library turns to its naive method
    cue, cue_torch = import_module("cuequivariance"), import_module("cuequivariance_torch")
    unit = math.gcd(*(block.channels for block in paths.space_in.blocks))
    product = cue.SegmentedTensorProduct.from_subscripts("u,u,,u")
    sizes = (paths.weight_numel, paths.space_in.width, paths.filter_starts[-1] * unit, paths.width)
    for operand, size in enumerate(sizes):
        for _ in range(size // unit):
            product.add_segment(operand, () if operand == 2 else (unit,))
    for p in paths.paths:
        group = paths.space_in.groups[p.l1]
        for j, i, c in (paths.couplings[p.l1][..., p.rows].abs() > 1e-12).nonzero().tolist():
            value = float(paths.couplings[p.l1][j, i, p.rows.start + c])
            for channel in range(0, p.size, unit):
                x = group.start + i * group.channels + p.channels.start + channel
                out = p.out.start + c * p.size + channel
                product.add_path((p.weights.start + channel) // unit, x // unit, j, out // unit, c=value)
    whole = [(cue.Operation((0, 1, 2, 3)), product)]
    polynomial = cue.SegmentedPolynomial(product.operands[:3], [product.operands[3]], whole)
    module = cue_torch.SegmentedPolynomial(polynomial, method=method).to(device)

    def kernel(x: Tensor, filters: Tensor, weights: Tensor, sender: Tensor, receiver: Tensor, n: int) -> Tensor:
        shapes, inputs = {0: x.new_empty(n, 1)}, [weights.contiguous(), x.contiguous(), filters.contiguous()]
        return module(inputs, input_indices={1: sender}, output_shapes=shapes, output_indices={0: receiver})[0]

    return kernel


def openequivariance_kernel(paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device) -> Kernel:
    """The OpenEquivariance kernel generator: product and sum over edges in one kernel.

    The product is the same for both parities, so each degree goes in as one block of even parity, in our layout.
    """
    need_cuda(device)
    library = import_module("openequivariance")
    degrees = list(paths.space_in.groups)
    for p in paths.paths:
        if p.size != paths.space_in.groups[p.l1].channels:
            raise NotImplementedError("some channels of a degree take no part in one of the products")
    number_type = torch.empty(0, dtype=dtype).numpy().dtype.type
    problem = library.TPProblem(
        " + ".join(f"{group.channels}x{degree}e" for degree, group in paths.space_in.groups.items()),
        " + ".join(f"1x{degree}e" for degree, _ in paths.filters),
        " + ".join(f"{p.size}x{p.l3}e" for p in paths.paths),
        [(degrees.index(p.l1), p.filter, number, "uvu", True) for number, p in enumerate(paths.paths)],
        shared_weights=False,
        internal_weights=False,
        layout="ir_mul",
        irrep_dtype=number_type,
        weight_dtype=number_type,
    )
    module = library.TensorProductConv(problem, deterministic=False)

    def kernel(x: Tensor, filters: Tensor, weights: Tensor, sender: Tensor, receiver: Tensor, n: int) -> Tensor:
        if n != len(x):
            raise ValueError(f"openequivariance wants as many receivers as senders, not {n} and {len(x)}")
        return module(x.contiguous(), filters.contiguous(), weights.contiguous(), receiver, sender)

    return kernel


def need_cuda(device: torch.device) -> None:
    """Raise for a device that the fast kernels do not run on."""
    if device.type != "cuda":
        raise NotImplementedError("its fast kernels need a CUDA device")


BUILDERS: dict[str, Callable[[ChannelwisePaths, torch.dtype, torch.device], Kernel]] = {
    "cuequivariance": cuequivariance_kernel,
    "openequivariance": openequivariance_kernel,
}
