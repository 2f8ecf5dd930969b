/* The convolution of aggregate.py with bfloat16 factors and float32 sums, for x86 processors with avx512_bf16.

   One instruction, `_mm512_dpbf16_ps`, adds two products to each of 16 sums, so the factors of every matrix product lie
   in pairs along the summed index: a pair is a uint32_t. A product C[m, n] (+)= a[m, k] b[k, n] broadcasts pairs of a
   and reads vectors of pairs of b. What is made in one layout is stored in the others that are needed at once, while it
   is in registers. Features, couplings, and everything that is added up are float32.

   Hidden units are padded to 32 (padded_hidden), edges of a node to 16 (wide), output channels to 16; the bias of the
   second layer of the weight network is not a hidden unit here but a small product of its own. */

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 24")
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))
enum { LANES = 16, CHANNELS = 4, MOST_COMPONENTS = 9 }; /* channels of a piece that are aggregated at a time: even */

typedef uint32_t pair;

/* One path of the tensor product: which input channels and couplings it takes. */
typedef struct {
    int32_t components; /* 2 l1 + 1 */
    int32_t start;      /* of the group of l1 in a feature */
    int32_t stride;     /* channels of that group */
    int32_t channel;    /* first channel in the group */
    int32_t size;       /* channels */
    int32_t coupling;   /* first of its [2 l3 + 1, 2 l1 + 1] couplings */
    int64_t weight;     /* first of its [size, channels out] rows of weights */
    int64_t packed;     /* offset of its packed weights, in pairs */
} Piece;

typedef struct {
    int32_t dim, channels, padded; /* 2 l3 + 1; channels; the same rounded up to LANES */
    int32_t start, stride;         /* of component 0 in an output row; from component to component */
    int32_t first_piece, n_pieces;
    float scale;                   /* of all its paths */
} Output;

typedef struct {
    int32_t n_outputs, width_in, width_out, n_couplings, filter_width, hidden, padded_hidden, edge_width, padded_edge;
    const Output *outputs;
    const Piece *pieces;
    const float *tables;    /* [couplings, filter width] */
    pair *weight;           /* for each CHANNELS of a piece [channel, hidden / 2, padded], pairs of hidden units */
    pair *transposed;       /* the same [padded / 2, channel, hidden], pairs of output channels */
    const float *bias;      /* [weights] */
    float *bias_transposed; /* for each piece [channels, size] */
    const float *first;     /* [edge width, hidden] */
    const pair *first_transposed; /* [hidden / 2, padded edge width], pairs of hidden units */
} Plan;

/* Of one convolution. Rows of hidden units are padded, those of `keep` are not. */
typedef struct {
    const int64_t *nodes, *sender;
    const float *inverse_count;
    const uint8_t *filled; /* null when all slots are */
    const float *x, *filters;
    const float *edge;                /* [slots, edge width] */
    const float *receiver, *of_sender; /* shares of the hidden layer, before the ReLU: [receivers], [senders] */
    const float *keep;                /* null without dropout */
    float *out;                       /* forward; the rest is for backward */
    const float *grad;
    float *d_x, *d_weight, *d_bias;   /* added to; d_weight [weights, padded hidden] and d_bias null if not wanted */
    float *d_edge, *d_receiver;       /* set; d_edge [slots, padded edge width] */
    float *d_sender, *d_first;        /* added to; d_first [padded edge width, padded hidden] */
} Tensors;

/* A block of nodes; sizes are for one node unless told otherwise. */
typedef struct {
    int nodes, degree, wide, even; /* degree rounded up to LANES, and to 2 */
    const float **rows;            /* [degree] of anything */
    float *x, *coupling;           /* [width in, wide], [couplings, wide] */
    float *filters;                /* [filter width, wide], of the node at hand */
    uint16_t *z;                   /* [dim, CHANNELS, wide] */
    pair *z_pairs;                 /* [dim, CHANNELS / 2, wide], pairs of channels */
    float *z_sum;                  /* [dim, CHANNELS] sums over edges */
    uint16_t *h;                   /* [even, hidden] of the node at hand */
    pair *h_pairs;                 /* [even / 2, hidden], pairs of edges */
    pair *h_transposed;            /* [hidden / 2, wide], pairs of hidden units */
    __mmask16 *active;             /* [degree, hidden / LANES] */
    uint16_t *total;               /* [dim, CHANNELS, hidden] */
    pair *total_pairs;             /* of two nodes [dim, CHANNELS, hidden], pairs of nodes */
    float *out;                    /* [dim, padded] of one output, or its gradient */
    uint16_t *grad;                /* [dim, padded] */
    pair *grad_pairs;              /* of two nodes [dim, padded], pairs of nodes */
    uint16_t *d_total;             /* [dim, CHANNELS, hidden] */
    pair *d_total_pairs;           /* [dim, CHANNELS / 2, hidden], pairs of channels */
    float *d_h;                    /* [degree, hidden] */
    float *d_z, *d_z_sum;          /* [dim, CHANNELS, wide] of the node at hand; [dim, size of a piece] */
    float *d_x;                    /* [width in, wide] */
    uint16_t *d_before, *edge;     /* [even, hidden], [even, padded edge width] of the node at hand */
    pair *d_before_pairs, *edge_pairs; /* [even / 2, ..] pairs of edges */
} Block;

/* ---- vectors ---- */

INLINE __m512 add_up(__m512 sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

/* 32 numbers: those of `first`, then those of `second`. */
INLINE __m512i rounded(__m512 first, __m512 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }

#define FOUR(a, b) a, b, a + 1, b + 1, a + 2, b + 2, a + 3, b + 3
#define SIXTEEN(a, b) {FOUR(a, b), FOUR(a + 4, b + 4), FOUR(a + 8, b + 8), FOUR(a + 12, b + 12)}
static const uint16_t LOW[32] = SIXTEEN(0, 32), HIGH[32] = SIXTEEN(16, 48), HALVES[32] = SIXTEEN(0, 16);

/* Pairs of equal places of two rows of 32 numbers, the lower and the upper half. */
INLINE __m512i pairs_low(__m512i a, __m512i b) { return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(LOW), b); }
INLINE __m512i pairs_high(__m512i a, __m512i b) { return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(HIGH), b); }

/* Pairs of equal places of two vectors. */
INLINE __m512i paired(__m512 a, __m512 b) {
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(HALVES), rounded(a, b));
}

INLINE __mmask16 first_lanes(int n) { return n >= LANES ? 0xffff : (1u << n) - 1; }

INLINE void transpose16(__m512 *r) {
    __m512 t[16];
    UNROLL for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + j], (__m512d)t[i + j + 2]);
            r[i + 2 * j + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + j], (__m512d)t[i + j + 2]);
        }
    }
    UNROLL for (int j = 0; j < 4; j++) {
        __m512 even_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), odd_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        __m512 even_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        __m512 odd_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        t[8 + j] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        t[4 + j] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
    UNROLL for (int i = 0; i < 16; i++) r[i] = t[i];
}

/* ---- tiles of products ---- */

/* sum[i, j] += sum over pairs p of a[i * ar + p * ak] b[p * bk + j * step], where `step` may differ for the second pair
   of vectors. Three rows of a share a pointer, which the compiler must not see through: with one for each row it runs
   out of registers. */
INLINE void dot(const int rows, const int vectors, __m512 *sum, int k, const pair *a, int64_t ar, int64_t ak,
                const pair *b, int64_t bk, int64_t step) {
    const pair *start[8];
    UNROLL for (int i = 0; i < rows; i += 3) start[i / 3] = a + i * ar;
    for (int p = 0; p < k; p++, b += bk) {
        __m512i row[4];
        UNROLL for (int j = 0; j < vectors; j++) row[j] = _mm512_loadu_si512(b + j / 2 * step + j % 2 * LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512i one = _mm512_set1_epi32(start[i / 3][i % 3 * ar]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i * vectors + j] = add_up(sum[i * vectors + j], one, row[j]);
        }
        UNROLL for (int i = 0; i < rows; i += 3) {
            start[i / 3] += ak;
            __asm__("" : "+r"(start[i / 3]));
        }
    }
}

/* The same where rows of a are next to each other. */
INLINE void dot_adjacent(const int rows, const int vectors, __m512 *sum, int k, const pair *a, int64_t ak,
                         const pair *b, int64_t bk) {
    for (int p = 0; p < k; p++, a += ak, b += bk) {
        __m512i row[4];
        UNROLL for (int j = 0; j < vectors; j++) row[j] = _mm512_loadu_si512(b + j * LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512i one = _mm512_set1_epi32(a[i]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i * vectors + j] = add_up(sum[i * vectors + j], one, row[j]);
        }
    }
}

#define ZERO(n) UNROLL for (int i_ = 0; i_ < (n); i_++) sum[i_] = _mm512_setzero_ps();

/* c[m, n] (+)= a b in float32, n a multiple of LANES: for `rows` and `vectors` at a time. */
INLINE void tile(const int rows, const int vectors, int k, const pair *a, int64_t ar, int64_t ak, const pair *b,
                 int64_t bk, float *c, int64_t cr, int add) {
    __m512 sum[24];
    ZERO(rows * vectors)
    if (add) {
        UNROLL for (int i = 0; i < rows; i++) {
            UNROLL for (int j = 0; j < vectors; j++) _mm_prefetch(c + i * cr + j * LANES, _MM_HINT_T0);
        }
    }
    if (__builtin_constant_p(ar) && ar == 1)
        dot_adjacent(rows, vectors, sum, k, a, ak, b, bk);
    else
        dot(rows, vectors, sum, k, a, ar, ak, b, bk, 2 * LANES);
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < vectors; j++) {
            float *to = c + i * cr + j * LANES;
            __m512 value = sum[i * vectors + j];
            _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), value) : value);
        }
    }
}

/* The same, c in bfloat16 and a multiple of 32 wide: two vectors at a time. */
INLINE void rounded_tile(const int rows, int k, const pair *a, int64_t ar, const pair *b, int64_t bk, uint16_t *c,
                         int64_t cr) {
    __m512 sum[24];
    ZERO(2 * rows)
    dot(rows, 2, sum, k, a, ar, 1, b, bk, 0);
    UNROLL for (int i = 0; i < rows; i++) _mm512_storeu_si512(c + i * cr, rounded(sum[2 * i], sum[2 * i + 1]));
}

/* The same for two nodes, in pairs of nodes. */
INLINE void paired_tile(const int rows, int k, const pair *a0, const pair *a1, int64_t ar, const pair *b0,
                        const pair *b1, int64_t bk, pair *c, int64_t cr) {
    __m512 sum[12], other[12];
    ZERO(2 * rows)
    dot(rows, 2, sum, k, a0, ar, 1, b0, bk, 0);
    UNROLL for (int i = 0; i < 2 * rows; i++) other[i] = _mm512_setzero_ps();
    dot(rows, 2, other, k, a1, ar, 1, b1, bk, 0);
    UNROLL for (int i = 0; i < rows; i++) {
        _mm512_storeu_si512(c + i * cr, paired(sum[2 * i], other[2 * i]));
        _mm512_storeu_si512(c + i * cr + LANES, paired(sum[2 * i + 1], other[2 * i + 1]));
    }
}

/* The same for two channels, `step` apart in b, 32 hidden units each: once as they are, once in pairs of channels. */
INLINE void two_channels_tile(const int rows, int k, const pair *a, int64_t ar, const pair *b, int64_t bk, int64_t step,
                              uint16_t *c, int64_t cr, pair *c_pairs, int64_t cp) {
    __m512 sum[24];
    ZERO(4 * rows)
    dot(rows, 4, sum, k, a, ar, 1, b, bk, step);
    UNROLL for (int i = 0; i < rows; i++) {
        __m512i one = rounded(sum[4 * i], sum[4 * i + 1]), two = rounded(sum[4 * i + 2], sum[4 * i + 3]);
        _mm512_storeu_si512(c + i * cr, one);
        _mm512_storeu_si512(c + i * cr + step, two);
        _mm512_storeu_si512(c_pairs + i * cp, pairs_low(one, two));
        _mm512_storeu_si512(c_pairs + i * cp + LANES, pairs_high(one, two));
    }
}

/* How m rows are shared out to tiles of `most` rows or fewer, evenly. */
typedef struct {
    int m, parts, rows, more; /* `more` of the parts have a row more than `rows` */
} Split;

INLINE Split split(int m, int most) {
    int parts = (m + most - 1) / most, rows = m ? m / parts : 0;
    return (Split){m, parts, rows, m - rows * parts};
}

/* Runs `call`, which uses the constant `rows`, from every row i at which a tile starts. */
#define CASE(n, call) \
    case n: {         \
        enum { rows = n }; \
        call;         \
        break;        \
    }
#define CASES6(call) CASE(1, call) CASE(2, call) CASE(3, call) CASE(4, call) CASE(5, call) CASE(6, call)
#define CASES12(call) CASES6(call) CASE(7, call) CASE(8, call) CASE(9, call) CASE(10, call) CASE(11, call) CASE(12, call)
#define CASES20(call)                                                                                                  \
    CASES12(call) CASE(13, call) CASE(14, call) CASE(15, call) CASE(16, call) CASE(17, call) CASE(18, call)            \
        CASE(19, call) CASE(20, call)
#define IN_ROWS(split, CASES, call)                                        \
    for (int i = 0, part_ = 0, now_; part_ < (split).parts; part_++, i += now_) { \
        now_ = (split).rows + (part_ < (split).more);                      \
        switch (now_) { CASES(call) }                                      \
    }

/* c[m, n] (+)= a b in float32. */
INLINE void any_product(int m, int n, int k, const pair *a, int64_t ar, int64_t ak, const pair *b, int64_t bk, float *c,
                        int64_t cr, int add) {
    int j = 0;
    Split of_four = split(m, 6), of_two = split(m, 12), of_one = split(m, 20);
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        IN_ROWS(of_four, CASES6, tile(rows, 4, k, a + i * ar, ar, ak, b + j, bk, c + i * cr + j, cr, add))
    for (; j + 2 * LANES <= n; j += 2 * LANES)
        IN_ROWS(of_two, CASES12, tile(rows, 2, k, a + i * ar, ar, ak, b + j, bk, c + i * cr + j, cr, add))
    if (j < n) IN_ROWS(of_one, CASES20, tile(rows, 1, k, a + i * ar, ar, ak, b + j, bk, c + i * cr + j, cr, add))
}

/* With pairs of a row of a next to each other, or rows. */
static void product(int m, int n, int k, const pair *a, int64_t ar, const pair *b, int64_t bk, float *c, int64_t cr,
                    int add) {
    any_product(m, n, k, a, ar, 1, b, bk, c, cr, add);
}
static void add_product_of_columns(int m, int n, int k, const pair *a, int64_t ak, const pair *b, int64_t bk, float *c,
                                   int64_t cr) {
    any_product(m, n, k, a, 1, ak, b, bk, c, cr, 1);
}

/* total[rows, hidden] = z^T h, rounded: z [rows, edge], h in pairs of edges. */
static void aggregate(int m, int k, const pair *z, int64_t zr, const pair *h, int hidden, uint16_t *total) {
    Split tiles = split(m, 12);
    for (int u = 0; u < hidden; u += 2 * LANES)
        IN_ROWS(tiles, CASES12, rounded_tile(rows, k, z + i * zr, zr, h + u, hidden, total + i * hidden + u, hidden))
}

/* The same of two nodes, in pairs of nodes. */
static void aggregate_two(int m, int k, const pair *z0, const pair *z1, int64_t zr, const pair *h0, const pair *h1,
                          int hidden, pair *total) {
    Split tiles = split(m, 6);
    for (int u = 0; u < hidden; u += 2 * LANES)
        IN_ROWS(tiles, CASES6,
                paired_tile(rows, k, z0 + i * zr, z1 + i * zr, zr, h0 + u, h1 + u, hidden, total + i * hidden + u, hidden))
}

/* d_total = gradient times weights of CHANNELS channels, in both layouts. */
static void spread(int m, int k, const pair *grad, int64_t gr, const pair *weight, int hidden, uint16_t *d_total,
                   pair *d_total_pairs) {
    Split tiles = split(m, 6);
    for (int c = 0; c < CHANNELS; c += 2)
        for (int u = 0; u < hidden; u += 2 * LANES)
            IN_ROWS(tiles, CASES6,
                    two_channels_tile(rows, k, grad + i * gr, gr, weight + c * hidden + u, CHANNELS * hidden, hidden,
                                      d_total + (i * CHANNELS + c) * hidden + u, CHANNELS * hidden,
                                      d_total_pairs + (i * CHANNELS + c) / 2 * hidden + u, CHANNELS / 2 * hidden))
}

/* ---- what is read ---- */

/* to[column, e] = from[e][column] for e < n, zero for further ones below `wide`. */
static void transpose(int n, int wide, int columns, const float *const *from, float *to) {
    for (int e = 0; e < wide; e += LANES)
        for (int c = 0; c < columns; c += LANES) {
            __m512 r[16];
            __mmask16 mask = first_lanes(columns - c);
            UNROLL for (int i = 0; i < 16; i++)
                r[i] = e + i < n ? _mm512_maskz_loadu_ps(mask, from[e + i] + c) : _mm512_setzero_ps();
            transpose16(r);
            int count = columns - c < LANES ? columns - c : LANES;
            for (int i = 0; i < count; i++) _mm512_storeu_ps(to + (c + i) * (int64_t)wide + e, r[i]);
        }
}

/* Features of the senders, and couplings; empty slots have couplings of zero and so take no part in anything. */
static void read_node(const Plan *plan, const Tensors *t, const Block *b, int node, int64_t slot) {
    int64_t wide = b->wide;
    const float **rows = b->rows;
    for (int e = 0; e < b->degree; e++) rows[e] = t->x + t->sender[slot + e] * plan->width_in;
    transpose(b->degree, wide, plan->width_in, rows, b->x + node * plan->width_in * wide);
    for (int f = 0; f < plan->filter_width; f++)
        for (int e = 0; e < wide; e++) {
            int taken = e < b->degree && (!t->filled || t->filled[slot + e]);
            b->filters[f * wide + e] = taken ? t->filters[(slot + e) * plan->filter_width + f] : 0;
        }
    float *to = b->coupling + node * plan->n_couplings * wide;
    const float *table = plan->tables;
    for (int c = 0; c < plan->n_couplings; c++, to += wide, table += plan->filter_width)
        for (int e = 0; e < wide; e += LANES) {
            __m512 sum = _mm512_setzero_ps();
            for (int f = 0; f < plan->filter_width; f++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(table[f]), _mm512_loadu_ps(b->filters + f * wide + e), sum);
            _mm512_storeu_ps(to + e, sum);
        }
}

/* Rows of the hidden layer after the ReLU, and which units are active: rounded at the end, so that those are right. */
INLINE void hidden_tile(const int rows, const Plan *plan, const Tensors *t, const Block *b, int node, int e,
                        int64_t receiver, int64_t slot) {
    int hidden = plan->padded_hidden;
    for (int u = 0; u < hidden; u += 2 * LANES) {
        __m512 sum[24];
        UNROLL for (int i = 0; i < rows; i++) {
            const float *of_sender = t->of_sender + t->sender[slot + i] * hidden + u;
            UNROLL for (int j = 0; j < 2; j++)
                sum[2 * i + j] = _mm512_add_ps(_mm512_loadu_ps(t->receiver + receiver * hidden + u + j * LANES),
                                               _mm512_loadu_ps(of_sender + j * LANES));
        }
        const float *first = plan->first + u, *edge = t->edge + slot * plan->edge_width;
        for (int p = 0; p < plan->edge_width; p++, first += hidden) {
            __m512 row[2] = {_mm512_loadu_ps(first), _mm512_loadu_ps(first + LANES)};
            UNROLL for (int i = 0; i < rows; i++) {
                __m512 one = _mm512_set1_ps(edge[i * plan->edge_width + p]);
                UNROLL for (int j = 0; j < 2; j++) sum[2 * i + j] = _mm512_fmadd_ps(one, row[j], sum[2 * i + j]);
            }
        }
        UNROLL for (int i = 0; i < rows; i++) {
            UNROLL for (int j = 0; j < 2; j++) {
                int at = u + j * LANES;
                __mmask16 on = _mm512_cmp_ps_mask(sum[2 * i + j], _mm512_setzero_ps(), _CMP_NLE_UQ); /* NaN is on */
                if (b->active) b->active[((int64_t)node * b->degree + e + i) * (hidden / LANES) + at / LANES] = on;
                sum[2 * i + j] = _mm512_maskz_mov_ps(on, sum[2 * i + j]);
                if (t->keep && at < plan->hidden)
                    sum[2 * i + j] = _mm512_mul_ps(sum[2 * i + j], _mm512_maskz_loadu_ps(first_lanes(plan->hidden - at),
                                                   t->keep + (slot + i) * plan->hidden + at));
            }
            _mm512_storeu_si512(b->h + (e + i) * hidden + u, rounded(sum[2 * i], sum[2 * i + 1]));
        }
    }
}

/* to[e / 2, column] pairs of edges of from[e, column], columns a multiple of 32, an even number of edges. */
static void pair_edges(int even, int columns, const uint16_t *from, pair *to) {
    for (int e = 0; e < even; e += 2)
        for (int c = 0; c < columns; c += 32) {
            __m512i one = _mm512_loadu_si512(from + e * columns + c), two = _mm512_loadu_si512(from + (e + 1) * columns + c);
            _mm512_storeu_si512(to + e / 2 * columns + c, pairs_low(one, two));
            _mm512_storeu_si512(to + e / 2 * columns + c + LANES, pairs_high(one, two));
        }
}

/* The hidden layer on the edges of a node, in all layouts. */
static void hidden_layer(const Plan *plan, const Tensors *t, const Block *b, int node, int64_t receiver, int64_t slot) {
    int hidden = plan->padded_hidden;
    Split tiles = split(b->degree, 12);
    IN_ROWS(tiles, CASES12, hidden_tile(rows, plan, t, b, node, i, receiver, slot + i))
    if (b->even > b->degree) memset(b->h + b->degree * hidden, 0, 2 * hidden);
    pair_edges(b->even, hidden, b->h, b->h_pairs + (int64_t)node * (b->even / 2) * hidden);
    if (!b->h_transposed) return;
    const float **from = b->rows;
    for (int e = 0; e < b->degree; e++) from[e] = (const float *)(b->h + e * hidden); /* moved, not computed with */
    transpose(b->degree, b->wide, hidden / 2, from, (float *)b->h_transposed + (int64_t)node * (hidden / 2) * b->wide);
}

/* ---- coupled features, aggregates ---- */

/* The sums of four vectors. */
INLINE __m128 sums_of_four(const __m512 *v) {
    __m512 one = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 two = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 all = _mm512_add_ps((__m512)_mm512_unpacklo_pd((__m512d)one, (__m512d)two),
                               (__m512)_mm512_unpackhi_pd((__m512d)one, (__m512d)two));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* The coupled features of channels u .. u + CHANNELS of a piece. Beyond the last channel of the piece they are those of
   other channels; the packed weights are zero there. */
INLINE void couple_components(const int components, const Plan *plan, const Output *o, const Piece *p, const Block *b,
                              int node, int u) {
    int64_t wide = b->wide, step = p->stride * wide, first = (int64_t)node * o->dim * CHANNELS;
    for (int channel = 0; channel < CHANNELS; channel += 4) {
        const float *x = b->x + (node * (int64_t)plan->width_in + p->start + p->channel + u + channel) * wide;
        const float *c = b->coupling + (node * (int64_t)plan->n_couplings + p->coupling) * wide;
        for (int row = 0; row < o->dim; row++, c += components * wide) {
            int64_t at = first + row * CHANNELS + channel;
            __m128 total = _mm_setzero_ps();
            for (int64_t e = 0; e < wide; e += LANES) {
                __m512 sum[4];
                ZERO(4)
                UNROLL for (int i = 0; i < components; i++) {
                    __m512 coupling = _mm512_loadu_ps(c + i * wide + e);
                    UNROLL for (int j = 0; j < 4; j++)
                        sum[j] = _mm512_fmadd_ps(coupling, _mm512_loadu_ps(x + i * step + j * wide + e), sum[j]);
                }
                UNROLL for (int j = 0; j < 4; j++)
                    _mm256_storeu_si256((__m256i *)(b->z + (at + j) * wide + e), (__m256i)_mm512_cvtneps_pbh(sum[j]));
                total = _mm_add_ps(total, sums_of_four(sum));
                if (!b->z_pairs) continue;
                _mm512_storeu_si512(b->z_pairs + at / 2 * wide + e, paired(sum[0], sum[1]));
                _mm512_storeu_si512(b->z_pairs + (at / 2 + 1) * wide + e, paired(sum[2], sum[3]));
            }
            _mm_storeu_ps(b->z_sum + at, total);
        }
    }
}

static void couple(const Plan *plan, const Output *o, const Piece *p, const Block *b, int node, int u) {
    switch (p->components) {
    case 1: couple_components(1, plan, o, p, b, node, u); break;
    case 3: couple_components(3, plan, o, p, b, node, u); break;
    case 5: couple_components(5, plan, o, p, b, node, u); break;
    default: couple_components(p->components, plan, o, p, b, node, u);
    }
}

/* d_z and d_z_sum of these channels of a node -> d_x. */
static void uncouple(const Plan *plan, const Output *o, const Piece *p, const Block *b, int node, int u) {
    int64_t wide = b->wide;
    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS, sums = ROUND_UP(p->size, LANES);
    const float *c = b->coupling + (node * (int64_t)plan->n_couplings + p->coupling) * wide;
    const float *d_z_sum = b->d_z_sum + (int64_t)node * o->dim * sums + u;
    float *d_x = b->d_x + (node * (int64_t)plan->width_in + p->start + p->channel + u) * wide;
    for (int channel = 0; channel < count; channel++)
        for (int64_t e = 0; e < wide; e += LANES) {
            __m512 d[MOST_COMPONENTS];
            for (int row = 0; row < o->dim; row++)
                d[row] = _mm512_add_ps(_mm512_loadu_ps(b->d_z + (row * CHANNELS + channel) * wide + e),
                                       _mm512_set1_ps(d_z_sum[row * sums + channel]));
            for (int i = 0; i < p->components; i++) {
                float *to = d_x + (i * p->stride + channel) * wide + e;
                __m512 sum = _mm512_loadu_ps(to);
                for (int row = 0; row < o->dim; row++)
                    sum = _mm512_fmadd_ps(_mm512_loadu_ps(c + (row * p->components + i) * wide + e), d[row], sum);
                _mm512_storeu_ps(to, sum);
            }
        }
}

/* ---- weights ---- */

/* A row of floats in bfloat16, zero up to `padded`. */
static void round_row(int n, int padded, const float *from, uint16_t *to) {
    for (int i = 0; i < padded; i += LANES) {
        __m512 values = i < n ? _mm512_maskz_loadu_ps(first_lanes(n - i), from + i) : _mm512_setzero_ps();
        _mm256_storeu_si256((__m256i *)(to + i), (__m256i)_mm512_cvtneps_pbh(values));
    }
}

/* Fill the packed weights of a plan from [weights, hidden]; `transposed` is null when no gradients are wanted. */
void pack(const Plan *plan, const float *weights) {
    int hidden = plan->padded_hidden;
    uint16_t row[hidden];
    for (const Output *o = plan->outputs; o < plan->outputs + plan->n_outputs; o++)
        for (const Piece *p = plan->pieces + o->first_piece; p < plan->pieces + o->first_piece + o->n_pieces; p++)
            for (int u = 0; u < ROUND_UP(p->size, CHANNELS); u++) {
                int64_t group = p->packed + (int64_t)(u / CHANNELS) * CHANNELS * hidden / 2 * o->padded;
                int c = u % CHANNELS;
                for (int v = 0; v < o->padded; v++) {
                    int64_t number = p->weight + (int64_t)u * o->channels + v;
                    int real = u < p->size && v < o->channels;
                    round_row(real ? plan->hidden : 0, hidden, weights + (real ? number * plan->hidden : 0), row);
                    pair *to = plan->weight + group + (int64_t)c * hidden / 2 * o->padded + v;
                    for (int h = 0; h < hidden; h += 2, to += o->padded) memcpy(to, row + h, sizeof(pair));
                    if (!plan->transposed) continue;
                    uint16_t *half = (uint16_t *)(plan->transposed + group + ((int64_t)(v / 2) * CHANNELS + c) * hidden) + v % 2;
                    for (int h = 0; h < hidden; h++) half[2 * h] = row[h];
                    if (real) plan->bias_transposed[p->weight + (int64_t)v * p->size + u] = plan->bias[number];
                }
            }
}

/* ---- blocks of nodes ---- */

static void *take(char **next, int64_t count, int64_t size) {
    void *found = *next;
    *next += ROUND_UP(count * size, 64);
    return found;
}

/* Lay a block out in memory from `start`; returns where it ends. */
static char *lay_out(const Plan *plan, Block *b, int64_t nodes, int backward, char *start) {
    char *next = start;
    int64_t dim = 0, out = 0, size = 0, hidden = plan->padded_hidden, wide = b->wide;
    for (int o = 0; o < plan->n_outputs; o++) {
        dim = plan->outputs[o].dim > dim ? plan->outputs[o].dim : dim;
        out = plan->outputs[o].padded > out ? plan->outputs[o].padded : out;
        for (int p = 0; p < plan->outputs[o].n_pieces; p++) {
            int64_t here = ROUND_UP(plan->pieces[plan->outputs[o].first_piece + p].size, LANES);
            size = here > size ? here : size;
        }
    }
    int64_t rows = nodes * dim, z = rows * CHANNELS;
    b->rows = take(&next, b->degree, sizeof(float *));
    b->x = take(&next, nodes * plan->width_in * wide, 4);
    b->coupling = take(&next, nodes * plan->n_couplings * wide, 4);
    b->filters = take(&next, plan->filter_width * wide, 4);
    b->z = take(&next, z * wide, 2);
    b->z_sum = take(&next, z, 4);
    b->h = take(&next, b->even * hidden, 2);
    b->h_pairs = take(&next, nodes * (b->even / 2) * hidden, 4);
    b->out = take(&next, rows * out, 4);
    b->total = take(&next, backward ? 0 : z * hidden, 2);
    b->z_pairs = 0, b->h_transposed = 0, b->active = 0;
    if (!backward) return next;
    b->z_pairs = take(&next, z / 2 * wide, 4);
    b->h_transposed = take(&next, nodes * (hidden / 2) * wide, 4);
    b->active = take(&next, nodes * b->degree * (hidden / LANES), 2);
    b->total_pairs = take(&next, (nodes + 1) / 2 * dim * CHANNELS * hidden, 4);
    b->grad = take(&next, rows * out, 2);
    b->grad_pairs = take(&next, (nodes + 1) / 2 * dim * out, 4);
    b->d_total = take(&next, z * hidden, 2);
    b->d_total_pairs = take(&next, z / 2 * hidden, 4);
    b->d_h = take(&next, nodes * b->degree * hidden, 4);
    b->d_z = take(&next, dim * CHANNELS * wide, 4);
    b->d_z_sum = take(&next, rows * size, 4);
    b->d_x = take(&next, nodes * plan->width_in * wide, 4);
    b->d_before = take(&next, b->even * hidden, 2);
    b->d_before_pairs = take(&next, nodes * (b->even / 2) * hidden, 4);
    b->edge = take(&next, b->even * plan->padded_edge, 2);
    b->edge_pairs = take(&next, nodes * (b->even / 2) * plan->padded_edge, 4);
    return next;
}

/* Memory of a block, one allocation; null when there is none. */
static char *reserve(const Plan *plan, Block *b, int64_t nodes, int64_t degree, int backward) {
    b->degree = degree, b->even = ROUND_UP(degree, 2), b->wide = ROUND_UP(degree, LANES);
    char *nowhere = (char *)64;
    int64_t size = lay_out(plan, b, nodes, backward, nowhere) - nowhere;
    char *memory = aligned_alloc(64, ROUND_UP(size, 64) + 64);
    if (memory) lay_out(plan, b, nodes, backward, memory);
    return memory;
}

/* out += z_sum times bias, for these channels of a piece. */
static void add_bias(const Plan *plan, const Output *o, const Piece *p, const Block *b, int u) {
    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS;
    for (int64_t row = 0; row < (int64_t)b->nodes * o->dim; row++)
        for (int v = 0; v < o->channels; v += LANES) {
            __mmask16 mask = first_lanes(o->channels - v);
            const float *bias = plan->bias + p->weight + (int64_t)u * o->channels + v;
            __m512 sum = _mm512_loadu_ps(b->out + row * o->padded + v);
            for (int c = 0; c < count; c++, bias += o->channels)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(b->z_sum[row * CHANNELS + c]), _mm512_maskz_loadu_ps(mask, bias), sum);
            _mm512_storeu_ps(b->out + row * o->padded + v, sum);
        }
}

/* The gradient of that: d_bias, if wanted. */
static void add_bias_gradient(const Output *o, const Piece *p, const Block *b, int u, float *d_bias) {
    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS;
    for (int c = 0; c < count; c++)
        for (int v = 0; v < o->channels; v += LANES) {
            __mmask16 mask = first_lanes(o->channels - v);
            float *to = d_bias + p->weight + (int64_t)(u + c) * o->channels + v;
            __m512 sum = _mm512_maskz_loadu_ps(mask, to);
            for (int64_t row = 0; row < (int64_t)b->nodes * o->dim; row++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(b->z_sum[row * CHANNELS + c]),
                                      _mm512_loadu_ps(b->out + row * o->padded + v), sum);
            _mm512_mask_storeu_ps(to, mask, sum);
        }
}

/* d_z_sum of all channels of a piece: gradient times bias. */
static void sum_gradient(const Plan *plan, const Output *o, const Piece *p, const Block *b) {
    int sums = ROUND_UP(p->size, LANES);
    for (int64_t row = 0; row < (int64_t)b->nodes * o->dim; row++)
        for (int u = 0; u < sums; u += LANES) {
            __mmask16 mask = first_lanes(p->size - u);
            const float *bias = plan->bias_transposed + p->weight + u;
            __m512 sum = _mm512_setzero_ps();
            for (int v = 0; v < o->channels; v++, bias += p->size)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(b->out[row * o->padded + v]), _mm512_maskz_loadu_ps(mask, bias), sum);
            _mm512_storeu_ps(b->d_z_sum + row * sums + u, sum);
        }
}

/* Mean messages of n receivers of equal degree, from `node` and `slot` of the layout on, `block` at a time.
   Returns 0, or 1 when there is no memory. */
int forward(const Plan *plan, const Tensors *t, int64_t node, int64_t slot, int64_t n, int64_t degree, int64_t block) {
    Block b;
    block = block < n ? block : n;
    char *memory = reserve(plan, &b, block, degree, 0);
    if (!memory) return 1;
    int64_t hidden = plan->padded_hidden;
    for (int64_t start = 0; start < n; start += block) {
        b.nodes = n - start < block ? n - start : block;
        const int64_t *receiver = t->nodes + node + start;
        for (int i = 0; i < b.nodes; i++) {
            int64_t here = slot + (start + i) * degree;
            read_node(plan, t, &b, i, here);
            hidden_layer(plan, t, &b, i, receiver[i], here);
        }
        for (const Output *o = plan->outputs; o < plan->outputs + plan->n_outputs; o++) {
            int64_t rows = (int64_t)b.nodes * o->dim, z = o->dim * CHANNELS;
            memset(b.out, 0, sizeof(float) * rows * o->padded);
            for (const Piece *p = plan->pieces + o->first_piece; p < plan->pieces + o->first_piece + o->n_pieces; p++) {
                const pair *weight = plan->weight + p->packed;
                for (int u = 0; u < p->size; u += CHANNELS, weight += CHANNELS * hidden / 2 * o->padded) {
                    for (int i = 0; i < b.nodes; i++) {
                        couple(plan, o, p, &b, i, u);
                        const pair *a = (const pair *)(b.z + i * z * b.wide), *h = b.h_pairs + i * (b.even / 2) * hidden;
                        uint16_t *total = b.total + i * z * hidden;
                        aggregate(z, b.even / 2, a, b.wide / 2, h, hidden, total);
                    }
                    product(rows, o->padded, CHANNELS * hidden / 2, (const pair *)b.total, CHANNELS * hidden / 2,
                            weight, o->padded, b.out, o->padded, 1);
                    add_bias(plan, o, p, &b, u);
                }
            }
            for (int64_t row = 0; row < rows; row++) {
                int64_t to = receiver[row / o->dim];
                float scale = o->scale * t->inverse_count[node + start + row / o->dim];
                for (int v = 0; v < o->channels; v++)
                    t->out[to * plan->width_out + o->start + row % o->dim * o->stride + v] =
                        scale * b.out[row * o->padded + v];
            }
        }
    }
    free(memory);
    return 0;
}

/* The gradient of an output of the nodes of a block, in all layouts. */
static void read_gradient(const Plan *plan, const Tensors *t, const Output *o, const Block *b, int64_t node) {
    int64_t padded = o->padded;
    for (int i = 0; i < b->nodes; i++) {
        float scale = o->scale * t->inverse_count[node + i];
        for (int m = 0; m < o->dim; m++) {
            const float *from = t->grad + t->nodes[node + i] * plan->width_out + o->start + m * o->stride;
            float *to = b->out + (i * o->dim + m) * padded;
            for (int v = 0; v < padded; v++) to[v] = v < o->channels ? scale * from[v] : 0;
            round_row(padded, padded, to, b->grad + (i * o->dim + m) * padded);
        }
    }
    for (int i = 0; i < b->nodes; i += 2)
        for (int m = 0; m < o->dim; m++)
            for (int v = 0; v < padded; v += LANES) {
                const float *one = b->out + (i * o->dim + m) * padded + v;
                __m512 two = i + 1 < b->nodes ? _mm512_loadu_ps(one + o->dim * padded) : _mm512_setzero_ps();
                _mm512_storeu_si512(b->grad_pairs + (i / 2 * o->dim + m) * padded + v, paired(_mm512_loadu_ps(one), two));
            }
}

/* The share of CHANNELS channels of a piece in all gradients. */
static void backward_channels(const Plan *plan, const Tensors *t, const Output *o, const Piece *p, Block *b, int u) {
    int64_t hidden = plan->padded_hidden, wide = b->wide, z = o->dim * CHANNELS, rows = (int64_t)b->nodes * o->dim;
    int count = p->size - u < CHANNELS ? p->size - u : CHANNELS, half = b->even / 2;
    for (int i = 0; i < b->nodes; i++) couple(plan, o, p, b, i, u);
    if (t->d_weight) {
        for (int i = 0; i < b->nodes; i += 2) {
            int other = i + 1 < b->nodes ? i + 1 : i; /* without one its gradient is zero */
            aggregate_two(z, half, (const pair *)(b->z + i * z * wide), (const pair *)(b->z + other * z * wide), wide / 2,
                          b->h_pairs + (int64_t)i * half * hidden, b->h_pairs + (int64_t)other * half * hidden, hidden,
                          b->total_pairs + i / 2 * z * hidden);
        }
        for (int c = 0; c < count; c++)
            add_product_of_columns(o->channels, hidden, (b->nodes + 1) / 2 * o->dim, b->grad_pairs, o->padded,
                                   b->total_pairs + c * hidden, CHANNELS * hidden,
                                   t->d_weight + (p->weight + (int64_t)(u + c) * o->channels) * hidden, hidden);
        add_bias_gradient(o, p, b, u, t->d_bias);
    }
    const pair *weight = plan->transposed + p->packed + (int64_t)u * hidden / 2 * o->padded;
    spread(rows, (o->channels + 1) / 2, (const pair *)b->grad, o->padded / 2, weight, hidden, b->d_total, b->d_total_pairs);
    for (int i = 0; i < b->nodes; i++) {
        add_product_of_columns(b->degree, hidden, z / 2, b->z_pairs + i * z / 2 * wide, wide,
                               b->d_total_pairs + i * z / 2 * hidden, hidden,
                               b->d_h + (int64_t)i * b->degree * hidden, hidden);
        product(z, wide, hidden / 2, (const pair *)(b->d_total + i * z * hidden), hidden / 2,
                b->h_transposed + (int64_t)i * (hidden / 2) * wide, wide, b->d_z, wide, 0);
        uncouple(plan, o, p, b, i, u);
    }
}

/* d_h -> gradients of what the hidden layer of a node is made of. */
static void backward_hidden(const Plan *plan, const Tensors *t, const Block *b, int node, int64_t receiver, int64_t slot) {
    int64_t hidden = plan->padded_hidden;
    const float *d_h = b->d_h + (int64_t)node * b->degree * hidden;
    const __mmask16 *active = b->active + (int64_t)node * b->degree * (hidden / LANES);
    for (int u = 0; u < hidden; u += LANES) {
        __m512 total = _mm512_setzero_ps();
        for (int e = 0; e < b->degree; e++) {
            __m512 d = _mm512_maskz_loadu_ps(active[e * (hidden / LANES) + u / LANES], d_h + e * hidden + u);
            if (t->keep && u < plan->hidden)
                d = _mm512_mul_ps(d, _mm512_maskz_loadu_ps(first_lanes(plan->hidden - u),
                                                           t->keep + (slot + e) * plan->hidden + u));
            total = _mm512_add_ps(total, d);
            float *of_sender = t->d_sender + t->sender[slot + e] * hidden + u;
            _mm512_storeu_ps(of_sender, _mm512_add_ps(_mm512_loadu_ps(of_sender), d));
            _mm256_storeu_si256((__m256i *)(b->d_before + e * hidden + u), (__m256i)_mm512_cvtneps_pbh(d));
        }
        _mm512_storeu_ps(t->d_receiver + receiver * hidden + u, total);
    }
    if (b->even > b->degree) memset(b->d_before + b->degree * hidden, 0, 2 * hidden);
    int64_t edge = plan->padded_edge;
    product(b->degree, edge, hidden / 2, (const pair *)b->d_before, hidden / 2, plan->first_transposed, edge,
            t->d_edge + slot * edge, edge, 0);
    pair_edges(b->even, hidden, b->d_before, b->d_before_pairs + (int64_t)node * (b->even / 2) * hidden);
    for (int e = 0; e < b->even; e++)
        round_row(e < b->degree ? plan->edge_width : 0, edge, t->edge + (slot + e) * plan->edge_width, b->edge + e * edge);
    pair_edges(b->even, edge, b->edge, b->edge_pairs + (int64_t)node * (b->even / 2) * edge);
}

/* Add d_x of a node to the rows of its senders. */
static void scatter(const Plan *plan, const Tensors *t, const Block *b, int node, int64_t slot) {
    int64_t wide = b->wide, width = plan->width_in;
    const float *from = b->d_x + node * width * wide;
    for (int c = 0; c < width; c += LANES) {
        __mmask16 mask = first_lanes(width - c);
        for (int e = 0; e < b->degree; e += LANES) {
            __m512 r[16];
            UNROLL for (int i = 0; i < 16; i++)
                r[i] = c + i < width ? _mm512_loadu_ps(from + (c + i) * wide + e) : _mm512_setzero_ps();
            transpose16(r);
            int count = b->degree - e < LANES ? b->degree - e : LANES;
            for (int i = 0; i < count; i++) {
                float *to = t->d_x + t->sender[slot + e + i] * width + c;
                _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), r[i]));
            }
        }
    }
}

/* Gradients, for the same receivers. */
int backward(const Plan *plan, const Tensors *t, int64_t node, int64_t slot, int64_t n, int64_t degree, int64_t block) {
    Block b;
    block = block < n ? block : n;
    char *memory = reserve(plan, &b, block, degree, 1);
    if (!memory) return 1;
    int64_t hidden = plan->padded_hidden;
    for (int64_t start = 0; start < n; start += block) {
        b.nodes = n - start < block ? n - start : block;
        const int64_t *receiver = t->nodes + node + start;
        int64_t first = slot + start * degree;
        for (int i = 0; i < b.nodes; i++) {
            read_node(plan, t, &b, i, first + i * degree);
            hidden_layer(plan, t, &b, i, receiver[i], first + i * degree);
        }
        memset(b.d_h, 0, sizeof(float) * b.nodes * degree * hidden);
        memset(b.d_x, 0, sizeof(float) * b.nodes * plan->width_in * b.wide);
        for (const Output *o = plan->outputs; o < plan->outputs + plan->n_outputs; o++) {
            read_gradient(plan, t, o, &b, node + start);
            for (const Piece *p = plan->pieces + o->first_piece; p < plan->pieces + o->first_piece + o->n_pieces; p++) {
                sum_gradient(plan, o, p, &b);
                for (int u = 0; u < p->size; u += CHANNELS) backward_channels(plan, t, o, p, &b, u);
            }
        }
        for (int i = 0; i < b.nodes; i++) {
            backward_hidden(plan, t, &b, i, receiver[i], first + i * degree);
            scatter(plan, t, &b, i, first + i * degree);
        }
        add_product_of_columns(plan->padded_edge, hidden, b.nodes * (b.even / 2), b.edge_pairs, plan->padded_edge,
                               b.d_before_pairs, hidden, t->d_first, hidden);
    }
    free(memory);
    return 0;
}
