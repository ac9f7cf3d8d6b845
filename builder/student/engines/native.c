/* A BERT encoder for one thread: whole paragraphs in, one vector a paragraph out, no padding.
 *
 * Linear layers and attention multiply integers (native_products.h); softmax, GELU and layer norms are float32. Every row is computed in
 * the same order of operations wherever it stands in a batch; machines with AVX2 and with AVX512 give the same bits, whatever the
 * compiler. Widths must be multiples of 32, also of heads.
 */
#include "native_attention.h"

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

/* rows = norm(rows + more); more may be null */
static void normalize(const Norm *norm, float *rows_, const float *more, int rows, int width, float epsilon) {
    for (int row = 0; row < rows; row++) {
        float *x = rows_ + (long)row * width;
        f8 total = {0}, squares = {0};
        for (int i = 0; i < width; i += WIDE) {
            floats v = load(x + i);
            if (more) v += load(more + (long)row * width + i);
            store(x + i, v);
            add_to(&total, v);
        }
        floats mean = all(sum(total) / width);
        for (int i = 0; i < width; i += WIDE) {
            floats v = load(x + i) - mean;
            add_to(&squares, v * v);
        }
        floats factor = all(1.0f / sqrtf(sum(squares) / width + epsilon));
        for (int i = 0; i < width; i += WIDE)
            store(x + i, fused((load(x + i) - mean) * factor, load(norm->weight + i), load(norm->bias + i)));
    }
}

static void feed_forward(const Layer *layer, float *states, int rows, int width, float epsilon, int16_t *whole, float *inner,
                         float *result) {
    linear(&layer->up, states, rows, whole, inner);
    for (long i = 0; i < (long)rows * layer->up.out; i += WIDE) store(inner + i, gelu(load(inner + i)));
    linear(&layer->down, inner, rows, whole, result);
    normalize(&layer->after_feed_forward, states, result, rows, width, epsilon);
}

static void pool(const Model *m, const float *states, const int32_t *starts, int texts, float *pooled) {
    for (int text = 0; text < texts; text++) {
        int count = m->first_token_only ? 1 : starts[text + 1] - starts[text];
        for (int i = 0; i < m->width; i += WIDE) {
            floats total = all(0);
            for (int t = 0; t < count; t++) total += load(states + (long)(starts[text] + t) * m->width + i);
            store(pooled + (long)text * m->width + i, total / (float)count);
        }
    }
}

static int wider(const Model *m) { return m->inner > 3 * m->width ? m->inner : 3 * m->width; }

/* of states, attention's output, queries, keys and values of all tokens; inner states and a layer's output of a block */
static size_t floats_needed(const Model *m, long tokens) { return (size_t)tokens * m->width * 5 + (size_t)BLOCK * (wider(m) + m->width); }

/* Bytes of memory that ``encode`` needs for a batch of so many tokens; the longest text's. */
size_t memory_needed(const Model *m, int tokens, int longest) {
    size_t of_attention = attention_bytes(padded_to(longest), m->width, m->width / m->heads);
    return sizeof(float) * floats_needed(m, tokens) + of_attention + sizeof(int16_t) * BLOCK * wider(m);
}

/* ids and segments [tokens] of texts laid end to end, text i from starts[i] to starts[i + 1]; pooled [texts, width]. */
void encode(const Model *m, const int32_t *ids, const int32_t *segments, const int32_t *starts, int texts, int longest, float *memory,
            float *pooled) {
    int tokens = starts[texts], width = m->width, head = width / m->heads;
    float *states = memory, *context = states + (long)tokens * width, *qkv = context + (long)tokens * width;
    float *inner = qkv + (long)tokens * width * 3, *result = inner + (long)BLOCK * wider(m);
    Attention attention = attention_in(memory + floats_needed(m, tokens), padded_to(longest), width, head);
    int16_t *whole = (int16_t *)((char *)attention.scales + attention_bytes(padded_to(longest), width, head));

    for (int text = 0; text < texts; text++)
        for (int t = starts[text]; t < starts[text + 1]; t++)
            for (int i = 0; i < width; i += WIDE)
                store(states + (long)t * width + i, load(m->words + (long)ids[t] * width + i) +
                      load(m->segments + (long)segments[t] * width + i) + load(m->positions + (long)(t - starts[text]) * width + i));
    normalize(&m->embedded, states, 0, tokens, width, m->epsilon);
    for (const Layer *layer = m->layer; layer < m->layer + m->layers; layer++) {
        for (int row = 0; row < tokens; row += BLOCK) {
            int rows = tokens - row < BLOCK ? tokens - row : BLOCK;
            linear(&layer->qkv, states + (long)row * width, rows, whole, qkv + (long)row * 3 * width);
        }
        for (int text = 0; text < texts; text++)
            attend_all(&attention, qkv + (long)starts[text] * 3 * width, starts[text + 1] - starts[text], width, m->heads,
                       context + (long)starts[text] * width);
        for (int row = 0; row < tokens; row += BLOCK) {
            int rows = tokens - row < BLOCK ? tokens - row : BLOCK;
            float *here = states + (long)row * width;
            linear(&layer->attention_out, context + (long)row * width, rows, whole, result);
            normalize(&layer->after_attention, here, result, rows, width, m->epsilon);
            feed_forward(layer, here, rows, width, m->epsilon, whole, inner, result);
        }
    }
    pool(m, states, starts, texts, pooled);
}
