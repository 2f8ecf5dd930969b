"""The sums of the convolution by torch: any device, any precision, bfloat16 for the large products."""

import torch
from torch import Tensor

from models.layers.chunks import Chunk, Inputs
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots
from models.layers.workspace import Workspace

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""Size of the temporaries of one chunk: a share of the last cache, or of a GPU's memory."""


class TorchKernel:
    """Sums over the edges of each node of a chunk, and their gradients. One thread uses it at a time.

    Args:
        packed: weights of each output [n * (hidden + 1), channels]; their precision is that of the products.
    """

    def __init__(
        self, paths: TensorProductPaths, slots: Slots, inputs: Inputs, packed: list[Tensor], for_weights: bool
    ) -> None:
        self.paths, self.slots, self.inputs, self.packed = paths, slots, inputs, packed
        self.x = inputs.x.to(packed[0].dtype)
        self.memory = Workspace()
        self.tables = paths.tables(inputs.x)
        self.hidden_width = inputs.weight.shape[1] + 1
        self.d_packed = (
            [weight.new_zeros(weight.shape, dtype=inputs.x.dtype) for weight in packed] if for_weights else []
        )

    @staticmethod
    def most(paths: TensorProductPaths, inputs: Inputs, degree: int) -> int:
        """Receivers of this degree whose temporaries fit the cache."""
        components = [block.dim * fan for block, fan in zip(paths.space_out.blocks, paths.fan_in, strict=True)]
        hidden, size = inputs.weight.shape[1], inputs.x.element_size()
        node_bytes = max(components) * (hidden + 1) * size
        edge_bytes = (2 * sum(components) + hidden) * size
        return CHUNK_BYTES.get(inputs.x.device.type, CHUNK_BYTES["cuda"]) // (node_bytes + degree * edge_bytes)

    def forward(self, chunk: Chunk, h: Tensor) -> Tensor:
        """[nodes, width out].

        Args:
            h: [edges, hidden + 1] hidden layer of the weight network, and one for the bias.
        """
        space = self.paths.space_out
        h = h.to(self.x.dtype).unflatten(0, (chunk.n, chunk.degree))
        rows = self.inputs.x.new_empty(chunk.n, space.width)
        for number, z in enumerate(self._coupled(self._couplings(chunk), self._features(chunk))):
            dim = space.blocks[number].dim
            total = self._aggregate(z.flatten(1).unflatten(0, (chunk.n, chunk.degree)), h, chunk)
            projected = total.view(chunk.n * dim, -1) @ self.packed[number]
            space.block_of(rows, number).copy_(projected.unflatten(0, (chunk.n, dim)))
        return rows

    def backward(self, chunk: Chunk, h: Tensor, grad: Tensor, d_x: Tensor, d_filters: Tensor | None) -> Tensor:
        """Gradient [edges, hidden + 1] of h; adds to those of x and the weights.

        Args:
            grad: [nodes, width out]. d_filters: [slots, filter width] gets rows of this chunk's edges.
        """
        couplings, features = self._couplings(chunk), self._features(chunk)
        outputs = self._coupled(couplings, features)
        d_h = self._through_products(chunk, h, grad, outputs)
        d_z = self._uncoupled(outputs, features)
        d_rows = torch.cat([torch.bmm(couplings[l1].transpose(1, 2), d).flatten(1) for l1, d in d_z.items()], 1)
        d_x.index_add_(0, self.slots.sender[chunk.edges], d_rows.to(d_x.dtype))
        if d_filters is not None:
            for l1, d in d_z.items():
                d_coupling = torch.bmm(d, features[l1].transpose(1, 2)).flatten(1).to(d_x.dtype)
                d_filters[chunk.edges] += d_coupling @ self.tables[l1].T
        return d_h

    def weight_gradients(self) -> list[Tensor]:
        """Sums for `pack`ed weights over the chunks so far."""
        return self.d_packed

    def _through_products(self, chunk: Chunk, h: Tensor, grad: Tensor, outputs: list[Tensor]) -> Tensor:
        """Gradient of h; that of each coupled output takes the output's place."""
        h = h.to(self.x.dtype).unflatten(0, (chunk.n, chunk.degree))
        d_h = self.memory.take("d_hidden", tuple(h.shape), h).zero_()
        for number, output in enumerate(outputs):
            dim = self.paths.space_out.blocks[number].dim
            z = output.flatten(1).unflatten(0, (chunk.n, chunk.degree))
            total = self._aggregate(z, h, chunk).view(chunk.n * dim, -1)
            g = self.paths.space_out.block_of(grad, number).reshape(chunk.n * dim, -1).to(h.dtype)
            if self.d_packed:
                self._add_outer(self.d_packed[number], total, g)
            d_total = torch.mm(g, self.packed[number].T, out=total).view(chunk.n, -1, h.shape[2])
            d_h.baddbmm_(z, d_total)
            torch.bmm(h, d_total.transpose(1, 2), out=z)
        return d_h.flatten(0, 1).to(grad.dtype)

    @staticmethod
    def _add_outer(to: Tensor, total: Tensor, g: Tensor) -> None:
        """Add total^T g, kept in the precision of `to`."""
        if to.dtype == g.dtype:
            to.addmm_(total.T, g)
        else:
            to += total.T @ g

    def _aggregate(self, z: Tensor, h: Tensor, chunk: Chunk) -> Tensor:
        """[nodes, components * n, hidden + 1] sum over the edges of each node of z h^T.

        Args:
            z: [nodes, degree, components * n]. h: [nodes, degree, hidden + 1].
        """
        total = self.memory.take("total", (chunk.n, z.shape[2], h.shape[2]), z)
        return torch.bmm(z.transpose(1, 2), h, out=total)

    def _couplings(self, chunk: Chunk) -> dict[int, Tensor]:
        """Degree -> [edges, rows, 2l+1] matrices that couple features with filters."""
        filters = self.inputs.filters[chunk.edges]
        return {l1: (filters @ t).to(self.x.dtype).unflatten(1, (-1, 2 * l1 + 1)) for l1, t in self.tables.items()}

    def _features(self, chunk: Chunk) -> dict[int, Tensor]:
        """Degree -> [edges, 2l+1, channels] features of the senders."""
        rows = self.memory.take("features", (chunk.n * chunk.degree, self.x.shape[1]), self.x)
        torch.index_select(self.x, 0, self.slots.sender[chunk.edges], out=rows)
        return {l1: self.paths.space_in.groups[l1].of(rows) for l1 in self.tables}

    def _coupled(self, couplings: dict[int, Tensor], features: dict[int, Tensor]) -> list[Tensor]:
        """For each output [edges, 2 l3 + 1, n]."""
        z = {}
        for l1, coupling in couplings.items():
            shape = (len(coupling), coupling.shape[1], features[l1].shape[2])
            z[l1] = torch.bmm(coupling, features[l1], out=self.memory.take(f"z {l1}", shape, self.x))
        n, out = len(next(iter(z.values()))), []
        for number, pieces in enumerate(self.paths.pieces):
            shape = (n, self.paths.space_out.blocks[number].dim, self.paths.fan_in[number])
            place = self.memory.take(f"coupled {number}", shape, self.x)
            out.append(torch.cat([z[p.l][:, p.rows, p.channels] for p in pieces], 2, out=place))
        return out

    def _uncoupled(self, gradients: list[Tensor], features: dict[int, Tensor]) -> dict[int, Tensor]:
        """The transpose of taking the pieces: degree -> [edges, rows, channels]."""
        out = {}
        for l1, f in features.items():
            out[l1] = self.memory.take(f"z {l1}", (len(f), self.paths.rows[l1], f.shape[2]), self.x)
            if not self.paths.covers(l1):
                out[l1].zero_()
        for pieces, gradient in zip(self.paths.pieces, gradients, strict=True):
            first = 0
            for p in pieces:
                out[p.l][:, p.rows, p.channels] = gradient[:, :, first : first + p.size]
                first += p.size
        return out
