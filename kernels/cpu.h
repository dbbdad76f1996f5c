/* Which instructions a kernel may use.
 *
 * Every kernel has a portable body; where AVX2 pays, a second one is compiled with a target attribute and
 * chosen when the extension is imported, so one wheel runs on any x86-64 or arm64. KERNELS_SIMD=off in the
 * environment chooses the portable bodies (the tests run both).
 */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define CPU_X86 1
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#else
#define CPU_X86 0
#endif

/* Forces a portable body into the AVX2 function that wraps it, where the compiler vectorises it wider. */
#define BODY static inline __attribute__((always_inline))

static int cpu_avx2; /* set once, at import */

static inline void cpu_detect(void) {
    const char *asked = getenv("KERNELS_SIMD");
#if CPU_X86
    __builtin_cpu_init();
    cpu_avx2 = __builtin_cpu_supports("avx2") && !(asked && strcmp(asked, "off") == 0);
#else
    (void)asked;
#endif
}

#endif
