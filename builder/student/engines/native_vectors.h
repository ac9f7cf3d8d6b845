/* Vectors of floats as the machine has them: WIDE at once. Sums are always of 8 partial sums, so that they are the same sums on
 * every machine; all other operations here are of each number by itself.
 */
#include <math.h>
#include <stdint.h>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define VNNI
#define WIDE 16
#else
#define WIDE 8
#endif
#if defined(VNNI) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define LIMIT16 2047 /* largest activation in 16 bits; as in exporting.py, whose weights keep sums from overflowing */
#define LIMIT8 180   /* and in 8 bits */

/* where a machine has no such vectors, the compiler makes of these what it can */
typedef float f8 __attribute__((vector_size(32), aligned(4)));
typedef float floats __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * WIDE), aligned(4)));
#define EACH(i) for (int i = 0; i < WIDE; i++)
/* before a loop whose count is known when compiling: what it goes over can then stay in registers */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE floats load(const float *p) { return *(const floats *)p; }
INLINE void store(float *p, floats v) { *(floats *)p = v; }
INLINE floats from_integers(const int32_t *p) { return __builtin_convertvector(*(const integers *)p, floats); }
INLINE floats all(float x) { return (floats){} + x; }
/* ``fused`` is a * b + c, rounded once with AVX2 and AVX512. The compiler fuses nothing by itself (-ffp-contract=off), since each does so
 * elsewhere.
 */
#if defined(VNNI)
INLINE floats fused(floats a, floats b, floats c) { return (floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE floats larger(floats a, floats b) { return (floats)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE floats smaller(floats a, floats b) { return (floats)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
INLINE floats fused(floats a, floats b, floats c) { return (floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE floats larger(floats a, floats b) { return (floats)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE floats smaller(floats a, floats b) { return (floats)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE floats fused(floats a, floats b, floats c) { return a * b + c; }
INLINE floats larger(floats a, floats b) { integers c = a > b; return (floats)(((integers)a & c) | ((integers)b & ~c)); }
INLINE floats smaller(floats a, floats b) { integers c = a < b; return (floats)(((integers)a & c) | ((integers)b & ~c)); }
#endif
INLINE floats absolute(floats a) { return (floats)((integers)a & 0x7fffffff); }

INLINE float largest(floats v) {
    float top = v[0];
    EACH(i) top = v[i] > top ? v[i] : top;
    return top;
}

INLINE float sum(f8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

/* eight numbers after the other, into a sum of eight */
INLINE f8 part(floats v, const int number) {
#ifdef VNNI
    return (f8)(number ? _mm512_extractf32x8_ps((__m512)v, 1) : _mm512_castps512_ps256((__m512)v));
#else
    (void)number;
    return v;
#endif
}
INLINE void add_to(f8 *total, floats v) {
    for (int i = 0; i < WIDE / 8; i++) *total += part(v, i);
}

/* exp(x) for x <= 0 as 2^n * 2^f: relative error 3e-6 + 1e-7 * |x|, a tenth of what attention's 16 bits round. Both polynomials here are
 * minimax, by Lawson's algorithm.
 */
INLINE floats exp_negative(floats x) {
    floats exponent = larger(x, all(-87.0f)) * 1.44269504f;
    floats n = exponent + 12582912.0f; /* rounds to the nearest integer in the low bits */
    floats f = exponent - (n - 12582912.0f);
    floats y = fused(f, all(9.5701013e-3f), all(5.5917859e-2f));
    y = fused(y, f, all(2.4024744e-1f));
    y = fused(y, f, all(6.9312179e-1f));
    y = fused(y, f, all(9.9999928e-1f));
    return (floats)((integers)y + ((integers)n << 23));
}

/* x times the normal distribution's cumulative, which is .5 + x * P(x * x) up to EDGE and stays there beyond: absolute error 6e-5, from
 * 24 on 2.5e-6 * |x|; a hundredth of what rounding to 8 bits changes (P is weighted by x * x).
 */
#define EDGE 4.5f
INLINE floats gelu(floats x) {
    floats z = smaller(larger(x, all(-EDGE)), all(EDGE)), t = z * z;
    floats y = fused(t, all(3.0364263e-11f), all(-3.3146670e-9f));
    y = fused(y, t, all(1.5909995e-7f));
    y = fused(y, t, all(-4.4517346e-6f));
    y = fused(y, t, all(8.1425227e-5f));
    y = fused(y, t, all(-1.0375917e-3f));
    y = fused(y, t, all(9.5852045e-3f));
    y = fused(y, t, all(-6.5984659e-2f));
    y = fused(y, t, all(3.9871261e-1f));
    return x * fused(y, z, all(0.5f));
}

/* to 16 bits, and to 0 .. LIMIT8 */
#if defined(VNNI)
INLINE void put16(int16_t *p, floats x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32((__m512)x)));
}
INLINE void put8(uint8_t *p, floats x) {
    __m512i v = _mm512_max_epi32(_mm512_cvtps_epi32((__m512)x), _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_min_epi32(v, _mm512_set1_epi32(LIMIT8))));
}
#elif defined(__AVX2__)
INLINE __m128i narrowed(floats x) {
    __m256i v = _mm256_cvtps_epi32((__m256)x);
    return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
INLINE void put16(int16_t *p, floats x) { _mm_storeu_si128((__m128i *)p, narrowed(x)); }
INLINE void put8(uint8_t *p, floats x) {
    __m128i v = _mm_packus_epi16(narrowed(x), _mm_setzero_si128());
    _mm_storel_epi64((__m128i *)p, _mm_min_epu8(v, _mm_set1_epi8((char)LIMIT8)));
}
#else
INLINE void put16(int16_t *p, floats x) { EACH(i) p[i] = (int16_t)lrintf(x[i]); }
INLINE void put8(uint8_t *p, floats x) {
    EACH(i) {
        long v = lrintf(x[i]);
        p[i] = (uint8_t)(v < 0 ? 0 : v > LIMIT8 ? LIMIT8 : v);
    }
}
#endif
