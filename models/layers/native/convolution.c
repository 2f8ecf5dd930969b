/* Aggregate over edges, then project once a node, for a range of receivers of equal degree (see aggregate.py).

   The aggregate A of a few channels of a block of nodes is made, used and forgotten while it is in the nearest caches.
   Everything is a product C[m, n] (+)= a[m, k] b[k, n] of small matrices, n a multiple of the vector width; `product`
   below holds a tile of C in registers. Inside a node, edges run fastest: [.., edge], padded to the vector width.

   Vectors are those of the compiler (GCC and Clang), so the file holds for any processor. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* One path of the tensor product: which input channels and couplings it takes. */
typedef struct {
    int32_t components; /* 2 l1 + 1 */
    int32_t start;      /* of the group of l1 in a feature */
    int32_t stride;     /* channels of that group */
    int32_t channel;    /* first channel in the group */
    int32_t size;       /* channels */
    int32_t coupling;   /* first of its [2 l3 + 1, 2 l1 + 1] couplings */
} Piece;

/* One block of the output. Weights are [fan, hidden, channels], and transposed [fan, channels, hidden], both padded. */
typedef struct {
    int32_t dim, channels, padded;    /* 2 l3 + 1; channels; the same rounded up to LANES */
    int32_t start, stride;            /* of component 0 in an output row; from component to component */
    int32_t first_piece, n_pieces;
    int64_t weight;                   /* offset of its weights */
} Output;

typedef struct {
    int32_t n_outputs, width_in, width_out, n_couplings, hidden, padded_hidden;
    const Output *outputs;
    const Piece *pieces;
    const float *weight, *transposed;
} Plan;

enum { CHANNELS = 4 }; /* channels of a piece that are aggregated at a time */

#define TILE(MR, NR)                                                                                                  \
    static void tile_##MR##_##NR(int k, const float *a, int64_t ar, int64_t ak, const float *b, int64_t bk, float *c, \
                                 int64_t cr, int add) {                                                               \
        vec sum[MR][NR];                                                                                              \
        _Pragma("GCC unroll 16") for (int i = 0; i < MR; i++) {                                                       \
            _Pragma("GCC unroll 4") for (int j = 0; j < NR; j++) sum[i][j] = (vec){0};                                \
        }                                                                                                             \
        const float *start[6];                                                                                        \
        _Pragma("GCC unroll 16") for (int i = 0; i < MR; i += 3) start[i / 3] = a + i * ar;                           \
        for (int p = 0; p < k; p++) {                                                                                 \
            vec row[NR];                                                                                              \
            _Pragma("GCC unroll 4") for (int j = 0; j < NR; j++) row[j] = *(const vec *)(b + p * bk + j * LANES);     \
            _Pragma("GCC unroll 16") for (int i = 0; i < MR; i++) {                                                   \
                float one = start[i / 3][i % 3 * ar];                                                                 \
                _Pragma("GCC unroll 4") for (int j = 0; j < NR; j++) sum[i][j] += one * row[j];                       \
            }                                                                                                         \
            _Pragma("GCC unroll 16") for (int i = 0; i < MR; i += 3) {                                                \
                start[i / 3] += ak;                                                                                   \
                __asm__("" : "+r"(start[i / 3]));                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        _Pragma("GCC unroll 16") for (int i = 0; i < MR; i++) {                                                       \
            _Pragma("GCC unroll 4") for (int j = 0; j < NR; j++) {                                                    \
                vec *to = (vec *)(c + i * cr + j * LANES);                                                            \
                if (add)                                                                                              \
                    *to += sum[i][j];                                                                                 \
                else                                                                                                  \
                    *to = sum[i][j];                                                                                  \
            }                                                                                                         \
        }                                                                                                             \
    }

#define TILES_UP_TO_6(NR) TILE(1, NR) TILE(2, NR) TILE(3, NR) TILE(4, NR) TILE(5, NR) TILE(6, NR)
#define TILES_UP_TO_8(NR) TILES_UP_TO_6(NR) TILE(7, NR) TILE(8, NR)
#define TILES_UP_TO_12(NR) TILES_UP_TO_8(NR) TILE(9, NR) TILE(10, NR) TILE(11, NR) TILE(12, NR)
TILES_UP_TO_12(1) TILE(13, 1) TILE(14, 1) TILE(15, 1) TILE(16, 1)
TILES_UP_TO_12(2)
TILES_UP_TO_8(3)
TILES_UP_TO_6(4)

typedef void (*Tile)(int, const float *, int64_t, int64_t, const float *, int64_t, float *, int64_t, int);
static const int ROWS[5] = {0, 16, 12, 8, 6};
static const Tile TABLE[5][16] = {
    {0},
    {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1, tile_7_1, tile_8_1, tile_9_1, tile_10_1, tile_11_1,
     tile_12_1, tile_13_1, tile_14_1, tile_15_1, tile_16_1},
    {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2, tile_7_2, tile_8_2, tile_9_2, tile_10_2, tile_11_2,
     tile_12_2},
    {tile_1_3, tile_2_3, tile_3_3, tile_4_3, tile_5_3, tile_6_3, tile_7_3, tile_8_3},
    {tile_1_4, tile_2_4, tile_3_4, tile_4_4, tile_5_4, tile_6_4},
};

enum { TERMS = 48 }; /* added one after the other: sums of such sums round less than one long sum */

/* c[i * cr + j] (+)= sum_p a[i * ar + p * ak] b[p * bk + j], i < m, j < n, p < k; n a multiple of LANES. */
static void product(int m, int n, int k, const float *a, int64_t ar, int64_t ak, const float *b, int64_t bk, float *c,
                    int64_t cr, int add) {
    for (; k > TERMS; k -= TERMS, a += TERMS * ak, b += TERMS * bk, add = 1)
        product(m, n, TERMS, a, ar, ak, b, bk, c, cr, add);
    int left = n / LANES, parts = (left + 3) / 4; /* tiles of even sizes: small ones reach less of the peak */
    for (int j = 0; parts > 0; parts--) {
        int vectors = (left + parts - 1) / parts;
        int row_parts = (m + ROWS[vectors] - 1) / ROWS[vectors], few = m / row_parts, more = m - few * row_parts;
        for (int i = 0, part = 0; part < row_parts; part++) {
            int rows = few + (part < more);
            TABLE[vectors][rows - 1](k, a + i * ar, ar, ak, b + j, bk, c + i * cr + j, cr, add);
            i += rows;
        }
        j += vectors * LANES;
        left -= vectors;
    }
}

/* to[column, row] = from[row, column] for rows < n; further rows, up to `padded`, are zero. */
static void transpose(int n, int padded, int columns, const float *const *from, float *to) {
    for (int c = 0; c < columns; c++) {
        for (int r = 0; r < n; r++) to[c * padded + r] = from[r][c];
        for (int r = n; r < padded; r++) to[c * padded + r] = 0;
    }
}

/* A block of nodes. Sizes are for one node unless told otherwise. */
typedef struct {
    int nodes, degree, padded; /* degree, and rounded up to LANES */
    float *x;                  /* [width in, padded] features of the senders */
    float *coupling;           /* [couplings, padded] */
    float *z;                  /* [dim * CHANNELS, padded] coupled features of a few channels */
    float *total;              /* of all nodes: [nodes * dim, CHANNELS * padded hidden] */
    float *out;                /* of all nodes: [nodes * dim, padded channels] of one output, or its gradient */
    float *h;                  /* [padded hidden, padded] */
    float *d_total, *d_z, *d_x, *d_coupling;
    const float **rows;
} Block;

/* The coupled features of channels u .. u + count of a piece, [dim * count, padded]: channel fastest but for edges. */
static void couple(const Plan *plan, const Output *o, const Piece *p, const Block *b, int node, int u, int count) {
    int64_t wide = b->padded;
    const float *x = b->x + node * plan->width_in * wide, *c = b->coupling + node * plan->n_couplings * wide;
    float *z = b->z + (int64_t)node * o->dim * CHANNELS * wide;
    for (int row = 0; row < o->dim; row++)
        for (int channel = 0; channel < count; channel++, z += wide)
            for (int e = 0; e < wide; e += LANES) {
                vec sum = {0};
                for (int i = 0; i < p->components; i++)
                    sum += *(const vec *)(c + (p->coupling + row * p->components + i) * wide + e) *
                           *(const vec *)(x + (p->start + i * p->stride + p->channel + u + channel) * wide + e);
                *(vec *)(z + e) = sum;
            }
}

/* The transpose of `couple`: from d_z to d_x and, if wanted, d_coupling. */
static void uncouple(const Plan *plan, const Output *o, const Piece *p, const Block *b, int node, int u, int count) {
    int64_t wide = b->padded;
    const float *x = b->x + node * plan->width_in * wide, *c = b->coupling + node * plan->n_couplings * wide;
    float *d_x = b->d_x + node * plan->width_in * wide;
    float *d_c = b->d_coupling ? b->d_coupling + node * plan->n_couplings * wide : 0;
    for (int row = 0; row < o->dim; row++)
        for (int channel = 0; channel < count; channel++) {
            const float *d_z = b->d_z + (int64_t)(row * count + channel) * wide;
            for (int i = 0; i < p->components; i++) {
                int64_t feature = (p->start + i * p->stride + p->channel + u + channel) * wide;
                int64_t coupling = (p->coupling + row * p->components + i) * wide;
                for (int e = 0; e < wide; e += LANES) {
                    vec d = *(const vec *)(d_z + e);
                    *(vec *)(d_x + feature + e) += d * *(const vec *)(c + coupling + e);
                    if (d_c) *(vec *)(d_c + coupling + e) += d * *(const vec *)(x + feature + e);
                }
            }
        }
}

/* [dim * count, padded hidden] of every node: coupled features times hidden layer, summed over edges. */
static void aggregate(const Plan *plan, const Output *o, const Piece *p, const Block *b, const float *h, int u,
                      int count) {
    int64_t wide = b->padded, hidden = plan->padded_hidden, rows = o->dim * count;
    for (int node = 0; node < b->nodes; node++) {
        couple(plan, o, p, b, node, u, count);
        product(rows, hidden, b->degree, b->z + (int64_t)node * o->dim * CHANNELS * wide, wide, 1,
                h + (int64_t)node * b->degree * hidden, hidden, b->total + node * rows * hidden, hidden, 0);
    }
}

static void fill(const Plan *plan, Block *b, const float *x, const int64_t *sender, const float *coupling) {
    for (int node = 0; node < b->nodes; node++) {
        for (int e = 0; e < b->degree; e++) b->rows[e] = x + sender[node * b->degree + e] * plan->width_in;
        transpose(b->degree, b->padded, plan->width_in, b->rows, b->x + (int64_t)node * plan->width_in * b->padded);
        for (int e = 0; e < b->degree; e++)
            b->rows[e] = coupling + (int64_t)(node * b->degree + e) * plan->n_couplings;
        transpose(b->degree, b->padded, plan->n_couplings, b->rows,
                  b->coupling + (int64_t)node * plan->n_couplings * b->padded);
    }
}

/* Memory of a block, one allocation; null when there is none. */
static float *reserve(const Plan *plan, Block *b, int nodes, int degree, int backward, int for_couplings) {
    int64_t dim = 0, channels = 0;
    for (int o = 0; o < plan->n_outputs; o++) {
        if (plan->outputs[o].dim > dim) dim = plan->outputs[o].dim;
        if (plan->outputs[o].padded > channels) channels = plan->outputs[o].padded;
    }
    b->degree = degree;
    b->padded = (degree + LANES - 1) / LANES * LANES;
    int64_t x = (int64_t)nodes * plan->width_in * b->padded, coupling = (int64_t)nodes * plan->n_couplings * b->padded;
    int64_t z = (int64_t)nodes * dim * CHANNELS * b->padded, total = nodes * dim * CHANNELS * plan->padded_hidden;
    int64_t out = nodes * dim * channels, h = (int64_t)plan->padded_hidden * b->padded, d_z = dim * CHANNELS * b->padded;
    int64_t size = x + coupling + z + total + out;
    if (backward) size += nodes * h + total + d_z + x + (for_couplings ? coupling : 0);
    float *memory = malloc(size * sizeof(float) + degree * sizeof(float *) + 64), *next = memory;
    if (!memory) return 0;
    b->x = next, next += x;
    b->coupling = next, next += coupling;
    b->z = next, next += z;
    b->total = next, next += total;
    b->out = next, next += out;
    b->h = b->d_total = b->d_z = b->d_x = b->d_coupling = 0;
    if (backward) {
        b->h = next, next += nodes * h;
        b->d_total = next, next += total;
        b->d_z = next, next += d_z;
        b->d_x = next, next += x;
        if (for_couplings) b->d_coupling = next, next += coupling;
    }
    b->rows = (const float **)(((uintptr_t)next + 15) / 16 * 16);
    return memory;
}

/* out [n, width out] = sum over the edges of each of n nodes.
   x: [senders, width in]; sender: [n * degree]; coupling: [n * degree, couplings]; h: [n * degree, padded hidden].
   Returns 0, or 1 when there is no memory. */
int forward(const Plan *plan, int64_t n, int64_t degree, int64_t block, const float *x, const int64_t *sender,
            const float *coupling, const float *h, float *out) {
    Block b;
    if (block > n) block = n;
    float *memory = reserve(plan, &b, block, degree, 0, 0);
    if (!memory) return 1;
    int64_t hidden = plan->padded_hidden;
    for (int64_t start = 0; start < n; start += block) {
        b.nodes = n - start < block ? n - start : block;
        const float *h_block = h + start * degree * hidden;
        fill(plan, &b, x, sender + start * degree, coupling + start * degree * plan->n_couplings);
        for (const Output *o = plan->outputs; o < plan->outputs + plan->n_outputs; o++) {
            const float *weight = plan->weight + o->weight;
            memset(b.out, 0, sizeof(float) * b.nodes * o->dim * o->padded);
            for (const Piece *p = plan->pieces + o->first_piece; p < plan->pieces + o->first_piece + o->n_pieces; p++)
                for (int u = 0; u < p->size; u += CHANNELS) {
                    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS;
                    aggregate(plan, o, p, &b, h_block, u, count);
                    product(b.nodes * o->dim, o->padded, count * hidden, b.total, count * hidden, 1, weight, o->padded,
                            b.out, o->padded, 1);
                    weight += count * hidden * o->padded;
                }
            for (int64_t row = 0; row < (int64_t)b.nodes * o->dim; row++)
                memcpy(out + (start + row / o->dim) * plan->width_out + o->start + row % o->dim * o->stride,
                       b.out + row * o->padded, sizeof(float) * o->channels);
        }
    }
    free(memory);
    return 0;
}

/* Gradients. grad: [n, width out]. d_weight (like the weights) and d_x [senders, width in] are added to; d_h
   [n * degree, padded hidden] and d_coupling [n * degree, couplings] are set; d_weight and d_coupling may be null. */
int backward(const Plan *plan, int64_t n, int64_t degree, int64_t block, const float *x, const int64_t *sender,
             const float *coupling, const float *h, const float *grad, float *d_weight, float *d_x, float *d_h,
             float *d_coupling) {
    Block b;
    if (block > n) block = n;
    float *memory = reserve(plan, &b, block, degree, 1, d_coupling != 0);
    if (!memory) return 1;
    int64_t hidden = plan->padded_hidden, wide = b.padded;
    for (int64_t start = 0; start < n; start += block) {
        b.nodes = n - start < block ? n - start : block;
        const float *h_block = h + start * degree * hidden;
        float *d_h_block = d_h + start * degree * hidden;
        fill(plan, &b, x, sender + start * degree, coupling + start * degree * plan->n_couplings);
        for (int node = 0; node < b.nodes; node++) {
            for (int e = 0; e < degree; e++) b.rows[e] = h_block + (node * degree + e) * hidden;
            transpose(degree, wide, hidden, b.rows, b.h + node * hidden * wide);
        }
        memset(d_h_block, 0, sizeof(float) * b.nodes * degree * hidden);
        memset(b.d_x, 0, sizeof(float) * b.nodes * plan->width_in * wide);
        if (d_coupling) memset(b.d_coupling, 0, sizeof(float) * b.nodes * plan->n_couplings * wide);
        for (const Output *o = plan->outputs; o < plan->outputs + plan->n_outputs; o++) {
            int64_t rows = (int64_t)b.nodes * o->dim, offset = o->weight;
            memset(b.out, 0, sizeof(float) * rows * o->padded);
            for (int64_t row = 0; row < rows; row++)
                memcpy(b.out + row * o->padded,
                       grad + (start + row / o->dim) * plan->width_out + o->start + row % o->dim * o->stride,
                       sizeof(float) * o->channels);
            for (const Piece *p = plan->pieces + o->first_piece; p < plan->pieces + o->first_piece + o->n_pieces; p++)
                for (int u = 0; u < p->size; u += CHANNELS) {
                    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS;
                    aggregate(plan, o, p, &b, h_block, u, count);
                    if (d_weight)
                        product(count * hidden, o->padded, rows, b.total, 1, count * hidden, b.out, o->padded,
                                d_weight + offset, o->padded, 1);
                    for (int channel = 0; channel < count; channel++)
                        product(rows, hidden, o->channels, b.out, o->padded, 1,
                                plan->transposed + offset + channel * o->padded * hidden, hidden,
                                b.d_total + channel * hidden, count * hidden, 0);
                    for (int node = 0; node < b.nodes; node++) {
                        float *d_total = b.d_total + (int64_t)node * o->dim * count * hidden;
                        product(degree, hidden, o->dim * count, b.z + (int64_t)node * o->dim * CHANNELS * wide, 1, wide,
                                d_total, hidden, d_h_block + node * degree * hidden, hidden, 1);
                        product(o->dim * count, wide, plan->hidden, d_total, hidden, 1, b.h + node * hidden * wide,
                                wide, b.d_z, wide, 0);
                        uncouple(plan, o, p, &b, node, u, count);
                    }
                    offset += count * hidden * o->padded;
                }
        }
        for (int node = 0; node < b.nodes; node++)
            for (int e = 0; e < degree; e++) {
                float *to = d_x + sender[(start + node) * degree + e] * plan->width_in;
                const float *from = b.d_x + (int64_t)node * plan->width_in * wide + e;
                for (int c = 0; c < plan->width_in; c++) to[c] += from[c * wide];
                if (!d_coupling) continue;
                to = d_coupling + ((start + node) * degree + e) * plan->n_couplings;
                from = b.d_coupling + (int64_t)node * plan->n_couplings * wide + e;
                for (int c = 0; c < plan->n_couplings; c++) to[c] = from[c * wide];
            }
    }
    free(memory);
    return 0;
}
