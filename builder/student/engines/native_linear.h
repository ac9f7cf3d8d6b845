/* Linear layers in integers: a row's scale comes from the row alone, so it is the same in any company. */
#include "native_products.h"

#define BLOCK 48 /* rows whose inner states are kept in the cache */

typedef struct {
    int32_t in, out, bits;
    const void *weight;                /* in panels */
    const float *scale, *bias, *total; /* of each output; total: of its weights, for 8 bits */
} Linear;

/* rows of floats to 16-bit integers within LIMIT16, each row with a scale of its own */
static void quantize16(const float *input, int rows, int width, int16_t *output, float *scales) {
    for (int row = 0; row < rows; row++, input += width, output += width) {
        floats high = all(1e-20f);
        for (int i = 0; i < width; i += WIDE) high = larger(absolute(load(input + i)), high);
        float top = largest(high);
        scales[row] = top / LIMIT16;
        floats factor = all(LIMIT16 / top);
        for (int i = 0; i < width; i += WIDE) put16(output + i, load(input + i) * factor);
    }
}

/* rows of floats to integers from 0 to LIMIT8, each row with a scale and a zero of its own */
static void quantize8(const float *input, int rows, int width, uint8_t *output, float *scales, float *zeros) {
    for (int row = 0; row < rows; row++, input += width, output += width) {
        floats high = all(1e-20f), low = all(0);
        for (int i = 0; i < width; i += WIDE) {
            high = larger(load(input + i), high);
            low = larger(-load(input + i), low);
        }
        float bottom = largest(low), range = largest(high) + bottom;
        scales[row] = range / LIMIT8;
        zeros[row] = rintf(bottom * (LIMIT8 / range));
        floats factor = all(LIMIT8 / range), zero = all(zeros[row]);
        for (int i = 0; i < width; i += WIDE) put8(output + i, fused(load(input + i), factor, zero));
    }
}

/* output [rows, out] = input [rows, in] . weight + bias, for at most BLOCK rows; whole is space for as many integers */
static void linear(const Linear *l, const float *input, int rows, int16_t *whole, float *output) {
    float scales[BLOCK], zeros[BLOCK] = {0};
    if (l->bits == 8) quantize8(input, rows, l->in, (uint8_t *)whole, scales, zeros);
    else quantize16(input, rows, l->in, whole, scales);
    const long in = (long)l->in * l->bits / 8;
    const int columns = PANELS * PANEL, together = rows < ROWS(l->bits) ? 1 : ROWS(l->bits);
    Products *multiply =
        l->bits == 8 ? (together == 1 ? one8 : all8) : (together == 1 ? one16 : all16);
    for (int column = 0; column < l->out; column += columns)
        for (int next = 0; next < rows; next += together) {
            int32_t sums[MOST_ROWS * PANELS * PANEL];
            int row = next + together > rows ? rows - together : next; /* the last ones go over some rows again */
            multiply((const char *)whole + row * in, in, in, (const char *)l->weight + column * in, sums);
            for (int c = 0; c < columns; c += WIDE) {
                floats total = load(l->total + column + c), scale = load(l->scale + column + c), bias = load(l->bias + column + c);
                for (int r = 0; r < together; r++) {
                    floats value = from_integers(sums + r * columns + c);
                    value = fused(fused(total, all(-zeros[row + r]), value) * scales[row + r], scale, bias);
                    store(output + (long)(row + r) * l->out + column + c, value);
                }
            }
        }
}
