"""The convolution in its fast exact form: aggregate over edges first, then project once a node.

The weight network is linear in its last layer, w = W h, and messages are averaged over the edges e of a node. With the
coupled features z_e (features times harmonics, see `paths`) the sum over edges is

    out[v, c] = sum_e sum_u (W h_e)[u, v] z_e[u, c] = sum_{u, m} W[u, v, m] A[c, u, m],   A = sum_e z_e h_e^T:

two matrix products a node, and no tensor of [edges x weights]. It is done for a few nodes at a time, so that A stays
in cache, on the CPU by one thread a core; the backward pass makes each A again instead of storing it. The sums of a few
nodes are a kernel's work: `native_kernel` where it can be had, else `torch_kernel`. With bfloat16 products on a CPU
that has instructions for them, `native_bfloat16` does all of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.layers import native
from models.layers.chunks import Chunk, HiddenGradients, HiddenLayer, Inputs, Part, cut
from models.layers.native import bfloat16
from models.layers.native_bfloat16 import BfloatConvolution
from models.layers.native_kernel import NativeKernel, NativeWeights
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots
from models.layers.torch_kernel import TorchKernel
from models.layers.workers import run_parts

Kernel = TorchKernel | NativeKernel


class Fixed:
    """What a convolution knows besides its tensors.

    Args:
        order: of the parts of the weight network's input.
        products: precision of the large products.
    """

    def __init__(self, paths: TensorProductPaths, slots: Slots, order: tuple[Part, ...], products: torch.dtype) -> None:
        self.paths, self.slots, self.order, self.products = paths, slots, order, products

    def kernels(self, inputs: Inputs, backward: bool, for_weights: bool) -> Callable[[], Kernel]:
        """Makes the kernel of one part of the work."""
        if self.native(inputs):
            weights = NativeWeights(self.paths, inputs.weight, inputs.bias, transposed=backward)
            return partial(NativeKernel, self.slots, inputs, weights, for_weights)
        packed = [weight.to(self.products) for weight in self.paths.pack(inputs.weight, inputs.bias)]
        return partial(TorchKernel, self.paths, self.slots, inputs, packed, for_weights)

    def native(self, inputs: Inputs) -> bool:
        """Whether the compiled functions can do it."""
        on_cpu = inputs.x.device.type == "cpu"
        return on_cpu and inputs.x.dtype == self.products == torch.float32 and native.library() is not None

    def compiled_bfloat16(self, inputs: Inputs, wanted: Inputs) -> BfloatConvolution | None:
        """All of the work in bfloat16 by compiled functions; None where they can't: they give filters no gradient."""
        suits = inputs.x.device.type == "cpu" and inputs.x.dtype == torch.float32 and self.products == torch.bfloat16
        if not suits or wanted.filters or bfloat16.library() is None or not BfloatConvolution.can(self.paths):
            return None
        return BfloatConvolution(self.paths, self.slots, self.order, inputs, training=any(wanted))

    def chunks(self, inputs: Inputs) -> tuple[int, list[Chunk]]:
        """Parts to work side by side, and chunks for them to take in turn."""
        parts = torch.get_num_threads() if inputs.x.device.type == "cpu" else 1
        most = NativeKernel.most if self.native(inputs) else partial(TorchKernel.most, self.paths, inputs)
        chunks = list(cut(self.slots, most, parts))
        return max(1, min(parts, len(chunks))), chunks


class AggregateThenProject(torch.autograd.Function):
    """Mean message of every receiver, [receivers, width out]. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, fixed: Fixed, *tensors: Tensor | None) -> Tensor:
        inputs, slots = Inputs(*tensors), fixed.slots  # type: ignore[arg-type]
        ctx.fixed = fixed
        ctx.save_for_backward(*tensors)
        ctx.compiled = fixed.compiled_bfloat16(inputs, Inputs(*ctx.needs_input_grad[1:]))
        if ctx.compiled is not None:
            return ctx.compiled.forward()
        kernel_of_part = fixed.kernels(inputs, backward=False, for_weights=False)
        out = inputs.x.new_zeros(slots.n_receivers, fixed.paths.space_out.width)
        parts, chunks = fixed.chunks(inputs)

        def forward_part(part: int) -> None:
            kernel, layer = kernel_of_part(), HiddenLayer(slots, fixed.order, inputs)
            for chunk in chunks[part::parts]:
                h = layer.after(chunk, layer.before(layer.known(chunk)), kernel.hidden_width)
                rows = kernel.forward(chunk, h) * slots.inverse_count[chunk.nodes, None]
                out.index_copy_(0, slots.nodes[chunk.nodes], rows)

        run_parts(forward_part, parts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple:
        fixed, inputs = ctx.fixed, Inputs(*ctx.saved_tensors)
        slots, wanted = fixed.slots, Inputs(*ctx.needs_input_grad[1:])
        for_weights = bool(wanted.weight or wanted.bias)
        if ctx.compiled is not None:
            return None, *ctx.compiled.backward(grad_out, for_weights)
        kernel_of_part = fixed.kernels(inputs, backward=True, for_weights=for_weights)
        d_hidden = HiddenGradients(inputs)
        d_filters = torch.zeros_like(inputs.filters) if wanted.filters else None
        parts, chunks = fixed.chunks(inputs)

        def backward_part(part: int) -> list[Tensor]:
            kernel, layer = kernel_of_part(), HiddenLayer(slots, fixed.order, inputs)
            sums, d_x = d_hidden.Sums(inputs), inputs.x.new_zeros(inputs.x.shape)
            for chunk in chunks[part::parts]:
                known = layer.known(chunk)
                before = layer.before(known)
                h = layer.after(chunk, before, kernel.hidden_width)
                grad = grad_out[slots.nodes[chunk.nodes]] * slots.inverse_count[chunk.nodes, None]
                d_h = kernel.backward(chunk, h, grad, d_x, d_filters)
                d_before = d_h[:, : before.shape[1]] * layer.slope(chunk, known, before)
                d_hidden.add(layer, sums, chunk, known, d_before)
            return [d_x, sums.sender, sums.first, sums.first_bias, *kernel.weight_gradients()]

        found = run_parts(backward_part, parts)
        d_x, d_sender, d_first, d_first_bias, *d_packed = (sum(each[1:], each[0]) for each in zip(*found, strict=True))
        d_weight, d_bias = fixed.paths.unpack(d_packed) if for_weights else (None, None)
        first = (d_first, d_first_bias)
        return None, d_x, d_filters, d_hidden.edge, d_hidden.receiver, d_sender, *first, d_weight, d_bias, None
