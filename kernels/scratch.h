/* Memory that a thread keeps between kernel calls, so that a hot call allocates nothing.
 *
 * Each extension has its own; it is freed when its thread ends. A buffer's content does not outlive the call.
 */
#ifndef KERNELS_SCRATCH_H
#define KERNELS_SCRATCH_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

enum { SCRATCH_BUFFERS = 8, SCRATCH_ALIGN = 64, SCRATCH_KEEP = 16 << 20 /* bytes that a thread may keep per buffer */ };

typedef struct {
    void *data[SCRATCH_BUFFERS];
    size_t size[SCRATCH_BUFFERS];
} scratch;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *memory) {
    scratch *mine = memory;
    for (int i = 0; i < SCRATCH_BUFFERS; i++)
        free(mine->data[i]);
    free(mine);
}

static void scratch_make_key(void) { pthread_key_create(&scratch_key, scratch_free); }

/* This thread's buffers, or NULL when memory is out. */
static inline scratch *scratch_mine(void) {
    pthread_once(&scratch_once, scratch_make_key);
    scratch *mine = pthread_getspecific(scratch_key);
    if (!mine) {
        mine = calloc(1, sizeof *mine);
        if (mine && pthread_setspecific(scratch_key, mine)) {
            free(mine);
            mine = NULL;
        }
    }
    return mine;
}

/* At least `bytes` in buffer `index`, or NULL. The old content is kept when `keep` is set. */
static inline void *scratch_need(scratch *mine, int index, size_t bytes, int keep) {
    if (mine->size[index] >= bytes)
        return mine->data[index];
    size_t rounded = (bytes + bytes / 4 + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    void *grown = aligned_alloc(SCRATCH_ALIGN, rounded);
    if (!grown)
        return NULL;
    if (keep && mine->size[index])
        __builtin_memcpy(grown, mine->data[index], mine->size[index]);
    free(mine->data[index]);
    mine->data[index] = grown;
    mine->size[index] = rounded;
    return grown;
}

/* Give back what one extraordinary input made a thread take. */
static inline void scratch_trim(scratch *mine) {
    for (int i = 0; i < SCRATCH_BUFFERS; i++)
        if (mine->size[i] > SCRATCH_KEEP) {
            free(mine->data[i]);
            mine->data[i] = NULL;
            mine->size[i] = 0;
        }
}

#endif
