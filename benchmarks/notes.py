"""Text of docs/benchmarks.md that stays the same from run to run, and what is known of the public reference."""

REFERENCE_BLOCKS_A_SECOND = 17_000
REFERENCE = {
    True: {255: (49.0, 8.3), 505: (121.0, 14.7)},
    False: {256: (4.6, 2.6), 512: (10.6, 4.6), 1000: (27.0, 7.8)},
}
"""Whether it is a training step -> blocks -> seconds and GB, published sizes, two CPU cores."""

MODEL_NOTE = """\
"Plain" is the same model with the same weights written the plain way with stock e3nn (`benchmarks/`): a weight tensor
for every edge, all-pairs neighbours. Batches are real interfaces, noised as in pretraining. Every figure comes from a
process of its own, in the order ours, plain, ours; two calls on a small batch go first. Times are medians with the
minimum in brackets; memory is the peak of the whole process. The last columns show the noise of the machine: the
slowest against the fastest repetition, and the median before the plain run against that after it."""

VARIANT_NOTE = """\
`bfloat16`: the products of convolutions in that precision (`--projection bfloat16`), compiled where the processor has
avx512_bf16, else by torch.
`channelwise`: another convolution, not weight-compatible (`--conv channelwise`)."""

REFERENCE_NOTE = "The public reference, measured on two cores of a machine of the same kind (not in this run):"

ARITHMETIC_NOTE = """\
Operations are counted by formula (`benchmarks/arithmetic.py`): the aggregate and the project product of all
convolutions, once in the forward pass and twice more in a backward pass; what is made again or done beside them isn't
counted."""

LOADING_NOTE = f"""\
The plain way (`benchmarks/plain_loading.py`) does the same work on Python lists that are in memory already: bonds
turned one by one, batches made from lists; with the same random numbers it gives the same batch. The reference makes
about {REFERENCE_BLOCKS_A_SECOND:,} blocks a second. Medians of repetitions in turn."""

STRUCTURE_NOTE = """\
The plain way (`benchmarks/plain_structures.py`) reads with Biopython, loops over residues and takes distances between
all pairs of atoms; it gives the same blocks and atoms. The best of three runs in turn on each file."""

PROFILE_NOTE = """\
A training step at {blocks} blocks, float32, on one thread, by the own time of operations (torch profiler; its overhead
is spread over all rows). Chunks are of the same size in larger batches. The compiled sums are those of
`models/layers/native` in all convolutions, those of the heads included; without a C compiler the next two rows hold
them."""

DEVICE_NOTE = """\
Memory is the peak of tensors. GB/s counts the bytes that operations take and give, as if none were in a cache."""
