/* Exact products of integers, of 8 or of 16 bits: the callers see to it that no sum can overflow on any machine.
 *
 * 16 bits: signed times signed, summed in 32 bits. 8 bits: 0 to LIMIT8 times signed. AVX512-VNNI sums both in 32 bits (vpdpwssd,
 * vpdpbusd). AVX2 sums products of 8 bits of 16 neighbouring inputs in two 16-bit numbers (vpmaddubsw, vpaddw) and those in 32
 * bits, which is 1.4 times as fast as 16 bits, and as the usual way with a 32-bit sum after every product.
 *
 * What is multiplied with [in, out] lies in panels of 16 outputs: panel, unit of inputs, output, input of the unit; a unit is 4 bytes: two
 * inputs of 16 bits or four of 8.
 */
#include <string.h>

#include "native_vectors.h"

#define PANEL 16 /* outputs of a panel */
#define UNIT 64  /* bytes of a panel's unit */

INLINE int32_t four_bytes(const char *p) {
    int32_t x;
    memcpy(&x, p, 4);
    return x;
}

/* Each machine's ``products``: ``sums`` [rows, PANELS * PANEL] of ``input``, whose rows have ``in`` bytes and begin ``apart`` bytes from
 * each other, and of PANELS panels, one every PANEL * ``in`` bytes. ``bits`` and ``rows`` are known when compiling; the sums of ROWS
 * rows fit into registers.
 */
#if defined(VNNI)
#define ROWS(bits) 12 /* 24 of 32 registers hold sums */
#define PANELS 2
INLINE void products(const int bits, const int rows, const char *input, long apart, long in, const char *weight,
                     int32_t *sums) {
    __m512i s[ROWS(8)][PANELS], w[PANELS];
    UNROLLED
    for (int r = 0; r < rows; r++)
        UNROLLED
        for (int p = 0; p < PANELS; p++) s[r][p] = _mm512_setzero_si512();
    for (long k = 0; k < in; k += 4) {
        UNROLLED
        for (int p = 0; p < PANELS; p++) w[p] = _mm512_loadu_si512(weight + (p * in + k) * PANEL);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            __m512i a = _mm512_set1_epi32(four_bytes(input + r * apart + k));
            UNROLLED
            for (int p = 0; p < PANELS; p++)
                s[r][p] = bits == 8 ? _mm512_dpbusd_epi32(s[r][p], a, w[p]) : _mm512_dpwssd_epi32(s[r][p], a, w[p]);
        }
    }
    UNROLLED
    for (int r = 0; r < rows; r++)
        UNROLLED
        for (int p = 0; p < PANELS; p++) _mm512_storeu_si512(sums + (r * PANELS + p) * PANEL, s[r][p]);
}
#elif defined(__AVX2__)
#define ROWS(bits) (bits == 8 ? 8 : 6) /* 8 or 12 of 16 registers hold sums */
#define PANELS 1
INLINE __m256i spread(const char *p) { return _mm256_set1_epi32(four_bytes(p)); }
INLINE __m256i take(const char *p) { return _mm256_loadu_si256((const __m256i *)p); }
/* 8 outputs' sums of 16 inputs' products; b at the first of the outputs */
INLINE __m256i sixteen(const char *a, const char *b) {
    __m256i s = _mm256_maddubs_epi16(spread(a), take(b)), t = _mm256_maddubs_epi16(spread(a + 4), take(b + UNIT));
    s = _mm256_add_epi16(s, _mm256_maddubs_epi16(spread(a + 8), take(b + 2 * UNIT)));
    t = _mm256_add_epi16(t, _mm256_maddubs_epi16(spread(a + 12), take(b + 3 * UNIT)));
    return _mm256_madd_epi16(_mm256_add_epi16(s, t), _mm256_set1_epi16(1));
}
/* rows x 8 outputs */
INLINE void products8(const int rows, const char *input, long apart, long in, const char *weight, int32_t *sums) {
    __m256i s[ROWS(8)];
    UNROLLED
    for (int r = 0; r < rows; r++) s[r] = _mm256_setzero_si256();
    for (long k = 0; k < in; k += 16)
        UNROLLED
        for (int r = 0; r < rows; r++) s[r] = _mm256_add_epi32(s[r], sixteen(input + r * apart + k, weight + k * PANEL));
    UNROLLED
    for (int r = 0; r < rows; r++) _mm256_storeu_si256((__m256i *)(sums + r * PANEL), s[r]);
}
INLINE void products16(const int rows, const char *input, long apart, long in, const char *weight, int32_t *sums) {
    __m256i s[ROWS(16)][2];
    UNROLLED
    for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = _mm256_setzero_si256();
    for (long k = 0; k < in; k += 4)
        UNROLLED
        for (int r = 0; r < rows; r++)
            UNROLLED
            for (int half = 0; half < 2; half++) {
                __m256i pairs = _mm256_madd_epi16(spread(input + r * apart + k), take(weight + k * PANEL + 32 * half));
                s[r][half] = _mm256_add_epi32(s[r][half], pairs);
            }
    UNROLLED
    for (int r = 0; r < rows; r++)
        UNROLLED
        for (int half = 0; half < 2; half++) _mm256_storeu_si256((__m256i *)(sums + r * PANEL + 8 * half), s[r][half]);
}
INLINE void products(const int bits, const int rows, const char *input, long apart, long in, const char *weight,
                     int32_t *sums) {
    if (bits == 16) products16(rows, input, apart, in, weight, sums);
    else for (int half = 0; half < 2; half++) products8(rows, input, apart, in, weight + 32 * half, sums + 8 * half);
}
#else
#define ROWS(bits) 6
#define PANELS 1
INLINE void products(const int bits, const int rows, const char *input, long apart, long in, const char *weight,
                     int32_t *sums) {
    memset(sums, 0, (size_t)rows * PANEL * sizeof(int32_t));
    for (long k = 0; k < in; k += 4, weight += UNIT)
        UNROLLED
        for (int r = 0; r < rows; r++) {
            const uint8_t *a8 = (const uint8_t *)input + r * apart + k;
            const int8_t *b8 = (const int8_t *)weight;
            const int16_t *a16 = (const int16_t *)a8, *b16 = (const int16_t *)weight;
            for (int i = 0; i < PANEL; i++)
                if (bits == 16) sums[r * PANEL + i] += a16[0] * b16[2 * i] + a16[1] * b16[2 * i + 1];
                else for (int j = 0; j < 4; j++) sums[r * PANEL + i] += a8[j] * b8[4 * i + j];
        }
}
#endif

#define MOST_ROWS 12
typedef void Products(const char *, long, long, const char *, int32_t *);
#define PRODUCTS(name, bits, rows) \
    static void name(const char *input, long apart, long in, const char *weight, int32_t *sums) { \
        products(bits, rows, input, apart, in, weight, sums); \
    }
PRODUCTS(all8, 8, ROWS(8))
PRODUCTS(one8, 8, 1)
PRODUCTS(all16, 16, ROWS(16))
PRODUCTS(one16, 16, 1)
