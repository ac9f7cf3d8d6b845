/* A BERT encoder for one thread: whole paragraphs in, one vector a paragraph out, no padding.
 *
 * Linear layers multiply integers of 8 or of 16 bits; a token's scale comes from the token alone. The caller scales weights so
 * that no sum can overflow, so the products are exact, the same on every machine. Every row is computed in the same order of
 * operations wherever it stands in a batch. Attention, softmax, GELU and layer norms are float32.
 *
 * 16 bits: activations within LIMIT16, summed in 32 bits (vpmaddwd on x86). 8 bits: activations from 0 to LIMIT8, of which one
 * value stands for zero; products of 16 neighbouring inputs are summed in two 16-bit numbers (vpmaddubsw, vpaddw) and those in 32
 * bits, which is 1.4 times as fast as 16 bits, and as the usual way with a 32-bit sum after every product.
 *
 * Widths must be multiples of 16. Weights [in, out] lie in panels of 16 outputs: panel, unit of inputs, output, input of the unit;
 * a unit is 4 bytes: two inputs of 16 bits or four of 8.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PANEL 16     /* outputs of a panel */
#define TILE 6       /* rows computed together in 16 bits and in floats: 12 of 16 registers hold sums */
#define TILE8 8      /* and in 8 bits, for 8 outputs */
#define BLOCK 48     /* rows whose inner states are kept in the cache */
#define LIMIT16 2047 /* largest activation in 16 bits */
#define LIMIT8 180   /* and in 8 bits */

typedef struct {
    int32_t in, out, bits;
    const void *weight;
    const float *scale, *bias; /* of each output */
    const float *total;        /* of each output's weights; for 8 bits */
} Linear;

typedef struct {
    const float *weight, *bias;
} Norm;

typedef struct {
    Linear qkv, attention_out, up, down;
    Norm after_attention, after_feed_forward;
} Layer;

typedef struct {
    int32_t layers, width, heads, inner, first_token_only;
    float epsilon;
    const float *words, *positions, *segments;
    Norm embedded;
    const Layer *layer;
} Model;

/* What the machine computes with: 8 floats at once where it can; elsewhere the compiler makes of these what it can. */
typedef float f8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));
#define EACH(i) for (int i = 0; i < 8; i++)
#define INLINE static inline __attribute__((always_inline))

INLINE f8 load(const float *p) { return *(const f8 *)p; }
INLINE void store(float *p, f8 v) { *(f8 *)p = v; }
INLINE f8 all(float x) { return (f8){x, x, x, x, x, x, x, x}; }
INLINE f8 larger(f8 a, f8 b) { i8 c = a > b; return (f8)(((i8)a & c) | ((i8)b & ~c)); }
INLINE f8 absolute(f8 a) { return (f8)((i8)a & 0x7fffffff); }
INLINE float sum(f8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

/* exp(x) for x <= 0, relative error 2e-7; coefficients of Cephes' expf */
INLINE f8 exp_negative(f8 x) {
    x = larger(x, all(-87.0f));
    f8 n = x * 1.44269504f + 12582912.0f; /* rounds to the nearest integer in the low bits */
    i8 bits = (i8)n << 23;
    n -= 12582912.0f;
    x = x - n * 0.693359375f + n * 2.12194440e-4f;
    f8 y = x * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    return (f8)((i8)y + bits);
}

/* x times the normal distribution's cumulative; erf by Abramowitz and Stegun 7.1.26, absolute error 1.5e-7 */
INLINE f8 gelu(f8 x) {
    f8 z = absolute(x) * 0.70710678f;
    f8 t = 1.0f / (z * 0.3275911f + 1.0f);
    f8 y = t * 1.061405429f - 1.453152027f;
    y = y * t + 1.421413741f;
    y = y * t - 0.284496736f;
    y = y * t + 0.254829592f;
    f8 tail = y * t * exp_negative(-z * z) * 0.5f;
    i8 negative = x < 0.0f;
    f8 below = (f8)(((i8)tail & negative) | ((i8)(1.0f - tail) & ~negative));
    return x * below;
}

#ifdef __AVX2__
#include <immintrin.h>
INLINE __m256i spread(const void *p) { return _mm256_castps_si256(_mm256_broadcast_ss((const float *)p)); }
INLINE __m256i take(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
/* 16 outputs' sums of a pair of inputs' products */
INLINE void add_pairs(i8 *sum0, i8 *sum1, const int16_t *a, const int16_t *b) {
    *sum0 += (i8)_mm256_madd_epi16(spread(a), take(b));
    *sum1 += (i8)_mm256_madd_epi16(spread(a), take(b + 16));
}
/* 8 outputs' sums of 16 inputs' products; b at the first of the outputs */
INLINE i8 sixteen(const uint8_t *a, const int8_t *b) {
    __m256i s = _mm256_maddubs_epi16(spread(a), take(b)), t = _mm256_maddubs_epi16(spread(a + 4), take(b + 64));
    s = _mm256_add_epi16(s, _mm256_maddubs_epi16(spread(a + 8), take(b + 128)));
    t = _mm256_add_epi16(t, _mm256_maddubs_epi16(spread(a + 12), take(b + 192)));
    return (i8)_mm256_madd_epi16(_mm256_add_epi16(s, t), _mm256_set1_epi16(1));
}
INLINE void put16(int16_t *p, f8 x) {
    __m256i v = _mm256_cvtps_epi32((__m256)x);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}
INLINE void put8(uint8_t *p, f8 x) {
    int16_t wide[8];
    put16(wide, x);
    __m128i v = _mm_loadu_si128((const __m128i *)wide);
    _mm_storel_epi64((__m128i *)p, _mm_min_epu8(_mm_packus_epi16(v, v), _mm_set1_epi8((char)LIMIT8)));
}
#else
INLINE void add_pairs(i8 *sum0, i8 *sum1, const int16_t *a, const int16_t *b) {
    EACH(i) (*sum0)[i] += a[0] * b[2 * i] + a[1] * b[2 * i + 1];
    EACH(i) (*sum1)[i] += a[0] * b[2 * i + 16] + a[1] * b[2 * i + 17];
}
INLINE i8 sixteen(const uint8_t *a, const int8_t *b) {
    i8 s = {0};
    EACH(i) for (int k = 0; k < 16; k++) s[i] += a[k] * b[k / 4 * 64 + 4 * i + k % 4];
    return s;
}
INLINE void put16(int16_t *p, f8 x) { EACH(i) p[i] = (int16_t)lrintf(x[i]); }
INLINE void put8(uint8_t *p, f8 x) {
    EACH(i) {
        long v = lrintf(x[i]);
        p[i] = (uint8_t)(v < 0 ? 0 : v > LIMIT8 ? LIMIT8 : v);
    }
}
#endif

/* rows x 16 outputs: input [rows, in] times a panel */
INLINE void tile(const int rows, const int16_t *input, int in, const int16_t *panel, i8 sums[TILE][2]) {
    i8 s[TILE][2];
    for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = (i8){0};
    for (int k = 0; k < in; k += 2)
        for (int r = 0; r < rows; r++) add_pairs(&s[r][0], &s[r][1], input + (long)r * in + k, panel + (long)k * PANEL);
    for (int r = 0; r < rows; r++) sums[r][0] = s[r][0], sums[r][1] = s[r][1];
}

static void tile_full(const int16_t *a, int in, const int16_t *p, i8 s[TILE][2]) { tile(TILE, a, in, p, s); }
static void tile_one(const int16_t *a, int in, const int16_t *p, i8 s[TILE][2]) { tile(1, a, in, p, s); }

/* rows x 8 outputs: input [rows, in] times half a panel */
INLINE void tile8(const int rows, const uint8_t *input, int in, const int8_t *half, i8 sums[TILE8]) {
    i8 s[TILE8];
    for (int r = 0; r < rows; r++) s[r] = (i8){0};
    for (int k = 0; k < in; k += 16)
        for (int r = 0; r < rows; r++) s[r] += sixteen(input + (long)r * in + k, half + (long)k * PANEL);
    for (int r = 0; r < rows; r++) sums[r] = s[r];
}

static void tile8_full(const uint8_t *a, int in, const int8_t *p, i8 s[TILE8]) { tile8(TILE8, a, in, p, s); }
static void tile8_one(const uint8_t *a, int in, const int8_t *p, i8 s[TILE8]) { tile8(1, a, in, p, s); }

INLINE float most(f8 v) {
    float top = v[0];
    EACH(i) top = v[i] > top ? v[i] : top;
    return top;
}

/* rows of floats to 16-bit integers within LIMIT16, each row with a scale of its own */
static void quantize16(const float *input, int rows, int width, int16_t *output, float *scales) {
    for (int row = 0; row < rows; row++, input += width, output += width) {
        f8 high = all(1e-20f);
        for (int i = 0; i < width; i += 8) high = larger(absolute(load(input + i)), high);
        float top = most(high);
        scales[row] = top / LIMIT16;
        f8 factor = all(LIMIT16 / top);
        for (int i = 0; i < width; i += 8) put16(output + i, load(input + i) * factor);
    }
}

/* rows of floats to integers from 0 to LIMIT8, each row with a scale and a zero of its own */
static void quantize8(const float *input, int rows, int width, uint8_t *output, float *scales, float *zeros) {
    for (int row = 0; row < rows; row++, input += width, output += width) {
        f8 high = all(1e-20f), low = all(0);
        for (int i = 0; i < width; i += 8) {
            high = larger(load(input + i), high);
            low = larger(-load(input + i), low);
        }
        float bottom = most(low), range = most(high) + bottom;
        scales[row] = range / LIMIT8;
        zeros[row] = rintf(bottom * (LIMIT8 / range));
        f8 factor = all(LIMIT8 / range), zero = all(zeros[row]);
        for (int i = 0; i < width; i += 8) put8(output + i, load(input + i) * factor + zero);
    }
}

static void linear16(const Linear *l, const int16_t *input, const float *scales, int rows, float *output) {
    for (int column = 0; column < l->out; column += PANEL) {
        const int16_t *panel = (const int16_t *)l->weight + (long)column * l->in;
        for (int row = 0; row < rows;) {
            int here = rows - row >= TILE ? TILE : 1;
            i8 sums[TILE][2];
            (here == TILE ? tile_full : tile_one)(input + (long)row * l->in, l->in, panel, sums);
            for (int r = 0; r < here; r++)
                for (int half = 0; half < 2; half++) {
                    int c = column + 8 * half;
                    f8 value = __builtin_convertvector(sums[r][half], f8) * scales[row + r];
                    store(output + (long)(row + r) * l->out + c, value * load(l->scale + c) + load(l->bias + c));
                }
            row += here;
        }
    }
}

static void linear8(const Linear *l, const uint8_t *input, const float *scales, const float *zeros, int rows, float *output) {
    for (int column = 0; column < l->out; column += 8) {
        const int8_t *half = (const int8_t *)l->weight + (long)(column / PANEL * PANEL) * l->in + column % PANEL * 4;
        for (int row = 0; row < rows;) {
            int here = rows - row >= TILE8 ? TILE8 : 1;
            i8 sums[TILE8];
            (here == TILE8 ? tile8_full : tile8_one)(input + (long)row * l->in, l->in, half, sums);
            for (int r = 0; r < here; r++) {
                f8 value = __builtin_convertvector(sums[r], f8) - load(l->total + column) * zeros[row + r];
                value = value * scales[row + r] * load(l->scale + column) + load(l->bias + column);
                store(output + (long)(row + r) * l->out + column, value);
            }
            row += here;
        }
    }
}

/* output [rows, out] = input [rows, in] . weight + bias, for at most BLOCK rows; whole is space for as many integers */
static void linear(const Linear *l, const float *input, int rows, int16_t *whole, float *output) {
    float scales[BLOCK], zeros[BLOCK];
    if (l->bits == 16) {
        quantize16(input, rows, l->in, whole, scales);
        linear16(l, whole, scales, rows, output);
    } else {
        quantize8(input, rows, l->in, (uint8_t *)whole, scales, zeros);
        linear8(l, (const uint8_t *)whole, scales, zeros, rows, output);
    }
}

/* rows = norm(rows + more); more may be null */
static void normalize(const Norm *norm, float *rows_, const float *more, int rows, int width, float epsilon) {
    for (int row = 0; row < rows; row++) {
        float *x = rows_ + (long)row * width;
        f8 total = all(0), squares = all(0);
        for (int i = 0; i < width; i += 8) {
            f8 v = load(x + i);
            if (more) v += load(more + (long)row * width + i);
            store(x + i, v);
            total += v;
        }
        f8 mean = all(sum(total) / width);
        for (int i = 0; i < width; i += 8) {
            f8 v = load(x + i) - mean;
            squares += v * v;
        }
        f8 factor = all(1.0f / sqrtf(sum(squares) / width + epsilon));
        for (int i = 0; i < width; i += 8)
            store(x + i, (load(x + i) - mean) * factor * load(norm->weight + i) + load(norm->bias + i));
    }
}

/* rows x 16: a [rows, depth] with distance ``da`` between rows, times b [depth, 16] with distance ``db`` */
INLINE void product(const int rows, const float *a, long da, const float *b, long db, int depth, float *c, long dc) {
    f8 s[TILE][2];
    for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = all(0);
    for (int k = 0; k < depth; k++) {
        f8 left = load(b + k * db), right = load(b + k * db + 8);
        for (int r = 0; r < rows; r++) {
            f8 x = all(a[r * da + k]);
            s[r][0] += x * left;
            s[r][1] += x * right;
        }
    }
    for (int r = 0; r < rows; r++) store(c + r * dc, s[r][0]), store(c + r * dc + 8, s[r][1]);
}

static void products(int rows, const float *a, long da, const float *b, long db, int depth, int columns, float *c, long dc) {
    for (int column = 0; column < columns; column += PANEL)
        if (rows == TILE) product(TILE, a, da, b + column, db, depth, c + column, dc);
        else for (int r = 0; r < rows; r++) product(1, a + r * da, da, b + column, db, depth, c + r * dc + column, dc);
}

/* one head of one text: qkv [tokens, 3 * width] at the head's first query number; into output [tokens, width] */
static void attend(const float *qkv, int tokens, int width, int head, float *output, float *space) {
    int padded = (tokens + PANEL - 1) / PANEL * PANEL;
    float *keys = space, *weights = space + (long)head * padded;
    for (int k = 0; k < head; k++)
        for (int t = 0; t < padded; t++) keys[(long)k * padded + t] = t < tokens ? qkv[(long)t * 3 * width + width + k] : 0;
    for (int row = 0; row < tokens; row += TILE) {
        int rows = tokens - row < TILE ? tokens - row : TILE;
        float inverse[TILE];
        products(rows, qkv + (long)row * 3 * width, 3 * width, keys, padded, head, padded, weights, padded);
        for (int r = 0; r < rows; r++) {
            float *w = weights + (long)r * padded;
            for (int t = tokens; t < padded; t++) w[t] = -1e30f;
            f8 high = load(w), total = all(0);
            for (int t = 8; t < padded; t += 8) high = larger(load(w + t), high);
            float top = most(high);
            for (int t = 0; t < padded; t += 8) {
                f8 e = exp_negative(load(w + t) - top);
                store(w + t, e);
                total += e;
            }
            inverse[r] = 1.0f / sum(total);
        }
        float *out = output + (long)row * width;
        products(rows, weights, padded, qkv + 2 * width, 3 * width, tokens, head, out, width);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < head; i += 8) store(out + (long)r * width + i, load(out + (long)r * width + i) * inverse[r]);
    }
}

static void feed_forward(const Layer *layer, float *states, int rows, int width, float epsilon, int16_t *whole, float *inner,
                         float *result) {
    linear(&layer->up, states, rows, whole, inner);
    for (long i = 0; i < (long)rows * layer->up.out; i += 8) store(inner + i, gelu(load(inner + i)));
    linear(&layer->down, inner, rows, whole, result);
    normalize(&layer->after_feed_forward, states, result, rows, width, epsilon);
}

static void pool(const Model *m, const float *states, const int32_t *starts, int texts, float *pooled) {
    for (int text = 0; text < texts; text++) {
        int count = m->first_token_only ? 1 : starts[text + 1] - starts[text];
        for (int i = 0; i < m->width; i += 8) {
            f8 total = all(0);
            for (int t = 0; t < count; t++) total += load(states + (long)(starts[text] + t) * m->width + i);
            store(pooled + (long)text * m->width + i, total / (float)count);
        }
    }
}

/* ids and segments [tokens] of texts laid end to end, text i from starts[i] to starts[i + 1]; pooled [texts, width].
 * Returns 0, or 1 where there is no memory. */
int encode(const Model *m, const int32_t *ids, const int32_t *segments, const int32_t *starts, int texts, float *pooled) {
    int tokens = starts[texts], width = m->width, head = width / m->heads, longest = 0;
    for (int i = 0; i < texts; i++) longest = starts[i + 1] - starts[i] > longest ? starts[i + 1] - starts[i] : longest;
    int wide = m->inner > 3 * width ? m->inner : 3 * width;
    long space_size = (long)(head + TILE) * (longest + PANEL);
    long floats = (long)tokens * width * 5 + (long)BLOCK * (wide + width) + space_size + 64;
    float *memory = malloc(floats * sizeof(float) + (long)BLOCK * wide * sizeof(int16_t));
    if (!memory) return 1;
    float *states = memory, *context = states + (long)tokens * width, *qkv = context + (long)tokens * width;
    float *inner = qkv + (long)tokens * width * 3, *result = inner + (long)BLOCK * wide;
    float *space = result + (long)BLOCK * width;
    int16_t *whole = (int16_t *)(space + space_size + 64);

    for (int text = 0; text < texts; text++)
        for (int t = starts[text]; t < starts[text + 1]; t++)
            for (int i = 0; i < width; i += 8)
                store(states + (long)t * width + i, load(m->words + (long)ids[t] * width + i) +
                      load(m->segments + (long)segments[t] * width + i) + load(m->positions + (long)(t - starts[text]) * width + i));
    normalize(&m->embedded, states, 0, tokens, width, m->epsilon);
    for (const Layer *layer = m->layer; layer < m->layer + m->layers; layer++) {
        for (int row = 0; row < tokens; row += BLOCK) {
            int rows = tokens - row < BLOCK ? tokens - row : BLOCK;
            linear(&layer->qkv, states + (long)row * width, rows, whole, qkv + (long)row * 3 * width);
        }
        for (int text = 0; text < texts; text++)
            for (int h = 0; h < m->heads; h++)
                attend(qkv + (long)starts[text] * 3 * width + h * head, starts[text + 1] - starts[text], width, head,
                       context + (long)starts[text] * width + h * head, space);
        for (int row = 0; row < tokens; row += BLOCK) {
            int rows = tokens - row < BLOCK ? tokens - row : BLOCK;
            float *here = states + (long)row * width;
            linear(&layer->attention_out, context + (long)row * width, rows, whole, result);
            normalize(&layer->after_attention, here, result, rows, width, m->epsilon);
            feed_forward(layer, here, rows, width, m->epsilon, whole, inner, result);
        }
    }
    pool(m, states, starts, texts, pooled);
    free(memory);
    return 0;
}
