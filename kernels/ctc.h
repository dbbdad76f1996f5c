/* CTC decoding: best class per time step in one pass over memory, then repeats and blanks dropped. */
#ifndef KERNELS_CTC_H
#define KERNELS_CTC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

/* Floats per block: 2 KiB, so that the block with the maximum is still in the first cache when it is searched. */
enum { CTC_BLOCK = 512, CTC_LANES = 32 };

/* Largest of count numbers, -inf when there is none above it. NaN loses every comparison. */
BODY float largest_body(const float *from, ptrdiff_t count) {
    float lane[CTC_LANES], best = -INFINITY;
    ptrdiff_t i = 0;
    for (int k = 0; k < CTC_LANES; k++)
        lane[k] = -INFINITY;
    for (; i + CTC_LANES <= count; i += CTC_LANES)
        for (int k = 0; k < CTC_LANES; k++)
            lane[k] = from[i + k] > lane[k] ? from[i + k] : lane[k];
    for (; i < count; i++)
        best = from[i] > best ? from[i] : best;
    for (int k = 0; k < CTC_LANES; k++)
        best = lane[k] > best ? lane[k] : best;
    return best;
}

static float largest_any(const float *from, ptrdiff_t count) { return largest_body(from, count); }

#if CPU_X86
/* maxps returns its second operand when either is NaN: the accumulator. */
AVX2 static float largest_avx2(const float *from, ptrdiff_t count) {
    __m256 lane[4];
    float each[8], best = -INFINITY;
    ptrdiff_t i = 0;
    for (int k = 0; k < 4; k++)
        lane[k] = _mm256_set1_ps(-INFINITY);
    for (; i + 32 <= count; i += 32)
        for (int k = 0; k < 4; k++)
            lane[k] = _mm256_max_ps(_mm256_loadu_ps(from + i + 8 * k), lane[k]);
    for (; i < count; i++)
        best = from[i] > best ? from[i] : best;
    lane[0] = _mm256_max_ps(_mm256_max_ps(lane[0], lane[1]), _mm256_max_ps(lane[2], lane[3]));
    _mm256_storeu_ps(each, lane[0]);
    for (int k = 0; k < 8; k++)
        best = each[k] > best ? each[k] : best;
    return best;
}
#endif

/* Index of the first maximum of a step; 0 when nothing is above -inf. */
static inline int32_t ctc_best(const float *step, ptrdiff_t classes) {
    float best = -INFINITY;
    ptrdiff_t start = -1;
    for (ptrdiff_t at = 0; at < classes; at += CTC_BLOCK) {
        ptrdiff_t count = classes - at < CTC_BLOCK ? classes - at : CTC_BLOCK;
#if CPU_X86
        float found = cpu_avx2 ? largest_avx2(step + at, count) : largest_any(step + at, count);
#else
        float found = largest_any(step + at, count);
#endif
        if (found > best) {
            best = found;
            start = at;
        }
    }
    if (start < 0)
        return 0;
    while (step[start] != best)
        start++;
    return (int32_t)start;
}

/* Sum in NumPy's order (pairwise_sum of float32), so that means are equal to the last bit. */
static float pairwise_sum(const float *from, ptrdiff_t count) {
    if (count < 8) {
        float sum = 0.0f; /* NumPy starts at -0.0; the sum of probabilities does not tell */
        for (ptrdiff_t i = 0; i < count; i++)
            sum += from[i];
        return sum;
    }
    if (count <= 128) {
        float lane[8];
        ptrdiff_t i;
        for (int k = 0; k < 8; k++)
            lane[k] = from[k];
        for (i = 8; i < count - count % 8; i += 8)
            for (int k = 0; k < 8; k++)
                lane[k] += from[i + k];
        float sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
        for (; i < count; i++)
            sum += from[i];
        return sum;
    }
    ptrdiff_t half = count / 2;
    half -= half % 8;
    return pairwise_sum(from, half) + pairwise_sum(from + half, count - half);
}

/* Keep step t when its class is not that of t-1 and not blank. Returns how many are kept. */
static inline ptrdiff_t ctc_keep(const int32_t *classes, const float *values, ptrdiff_t steps, int32_t *kept_classes,
                                 int32_t *kept_steps, float *kept_values) {
    ptrdiff_t count = 0;
    for (ptrdiff_t t = 0; t < steps; t++)
        if (classes[t] != 0 && (t == 0 || classes[t] != classes[t - 1])) {
            kept_classes[count] = classes[t];
            kept_steps[count] = (int32_t)t;
            kept_values[count++] = values[t];
        }
    return count;
}

#endif
