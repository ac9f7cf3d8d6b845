/* Attention of one text, in integers of 16 bits; the softmax is float32.
 *
 * Queries, keys and values have a scale by token. A row's weights are multiplied by the values' scales before they are rounded, and
 * sum to MOST, so that no sum of 16-bit products can overflow (a head is at most 512 wide).
 */
#include "native_linear.h"

#define PADDING 32    /* a text's keys and values are padded to a multiple of it */
#define MOST 32767.0f /* sum of a row's weights in integers */

/* What attention needs of memory for one text, of up to ``padded`` tokens. */
typedef struct {
    float *scales;                    /* of each token's query, key and values: [tokens, 3] */
    float *keys_scale, *values_scale; /* the same by token */
    float *weights;                   /* of some rows: [MOST_ROWS, padded] */
    int16_t *whole;                   /* queries, keys and values: [tokens, 3, width] */
    int16_t *keys, *values;           /* of a head, in panels */
    int16_t *whole_weights;           /* as weights */
} Attention;

static long padded_to(int tokens) { return (tokens + PADDING - 1L) / PADDING * PADDING; }

static size_t attention_bytes(long padded, int width, int head) {
    return sizeof(float) * padded * (3 + 2 + MOST_ROWS) + sizeof(int16_t) * padded * (3L * width + 2L * head + MOST_ROWS);
}

static Attention attention_in(float *memory, long padded, int width, int head) {
    Attention a = {.scales = memory};
    a.keys_scale = a.scales + 3 * padded;
    a.values_scale = a.keys_scale + padded;
    a.weights = a.values_scale + padded;
    a.whole = (int16_t *)(a.weights + MOST_ROWS * padded);
    a.keys = a.whole + padded * 3 * width;
    a.values = a.keys + padded * head;
    a.whole_weights = a.values + padded * head;
    return a;
}

/* a head's keys in panels of 16 tokens, its values in panels of 16 columns: as weights of a linear layer lie */
static void lay_out(const Attention *a, int tokens, int padded, int width, int head, int first) {
    static const int16_t none[PANEL];
    memset(a->keys, 0, (size_t)padded * head * sizeof(int16_t));
    memset(a->values, 0, (size_t)padded * head * sizeof(int16_t));
    for (int t = 0; t < tokens; t++) {
        const int16_t *key = a->whole + (3L * t + 1) * width + first;
        int16_t *keys = a->keys + (long)(t / PANEL) * PANEL * head + t % PANEL * 2;
        for (int i = 0; i < head; i += 2) memcpy(keys + i * PANEL, key + i, 4);
    }
    for (int column = 0; column < head; column += PANEL)
        for (int t = 0; t < tokens; t += 2) {
            const int16_t *here = a->whole + (3L * t + 2) * width + first + column;
            const int16_t *next = t + 1 < tokens ? here + 3L * width : none;
            int16_t *values = a->values + (long)column * padded + (long)t * PANEL;
            for (int i = 0; i < PANEL; i++) values[2 * i] = here[i], values[2 * i + 1] = next[i];
        }
}

/* A row's scores ``w`` to integers that sum to MOST: softmax times the values' scales. Returns the factor of their products. */
static float soften(const Attention *a, float *w, int16_t *whole, int tokens, int padded) {
    for (int t = tokens; t < padded; t++) w[t] = -1e30f;
    floats high = load(w);
    f8 total = {0}, scaled = {0};
    for (int t = WIDE; t < padded; t += WIDE) high = larger(load(w + t), high);
    float top = largest(high);
    for (int t = 0; t < padded; t += WIDE) {
        floats e = exp_negative(load(w + t) - top);
        add_to(&total, e);
        e *= load(a->values_scale + t);
        add_to(&scaled, e);
        store(w + t, e);
    }
    float most = sum(scaled);
    floats factor = all(MOST / most);
    for (int t = 0; t < padded; t += WIDE) put16(whole + t, load(w + t) * factor);
    return most / (MOST * sum(total));
}

/* one head of one text, its queries from number ``first``; into output [tokens, width] from there */
static void attend(const Attention *a, int tokens, int padded, int width, int head, int first, float *output) {
    const int columns = PANELS * PANEL, together = tokens < ROWS(16) ? 1 : ROWS(16);
    Products *multiply = together == 1 ? one16 : all16;
    int32_t sums[MOST_ROWS * PANELS * PANEL];
    lay_out(a, tokens, padded, width, head, first);
    for (int next = 0; next < tokens; next += together) {
        int row = next + together > tokens ? tokens - together : next; /* the last ones go over some rows again */
        float factors[MOST_ROWS];
        for (int t = 0; t < padded; t += columns) {
            const int16_t *queries = a->whole + 3L * row * width + first;
            multiply((const char *)queries, 6L * width, 2L * head, (const char *)(a->keys + (long)t * head), sums);
            for (int c = 0; c < columns; c += WIDE)
                for (int r = 0; r < together; r++) {
                    floats score = from_integers(sums + r * columns + c) * a->scales[3 * (row + r)];
                    store(a->weights + (long)r * padded + t + c, score * load(a->keys_scale + t + c));
                }
        }
        for (int r = 0; r < together; r++)
            factors[r] = soften(a, a->weights + (long)r * padded, a->whole_weights + (long)r * padded, tokens, padded);
        for (int column = 0; column < head; column += columns) {
            const int16_t *values = a->values + (long)column * padded;
            multiply((const char *)a->whole_weights, 2L * padded, 2L * padded, (const char *)values, sums);
            for (int c = 0; c < columns; c += WIDE)
                for (int r = 0; r < together; r++) {
                    float *here = output + (long)(row + r) * width + first + column + c;
                    store(here, from_integers(sums + r * columns + c) * factors[r]);
                }
        }
    }
}

/* all heads of one text: qkv [tokens, 3 * width] */
static void attend_all(const Attention *a, const float *qkv, int tokens, int width, int heads, float *output) {
    int padded = (int)padded_to(tokens);
    quantize16(qkv, 3 * tokens, width, a->whole, a->scales);
    for (int t = 0; t < padded; t++) {
        a->keys_scale[t] = t < tokens ? a->scales[3 * t + 1] : 0;
        a->values_scale[t] = t < tokens ? a->scales[3 * t + 2] : 0;
    }
    for (int h = 0; h < heads; h++) attend(a, tokens, padded, width, width / heads, h * (width / heads), output);
}
