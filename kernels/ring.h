/* Single-producer single-consumer ring of 64-bit hints over given memory.
 *
 * 1. The producer writes the entry, then head (release).
 * 2. The consumer reads head (acquire), the entry, then writes tail (release).
 * 3. Each side keeps the other's index in process-local memory and reads the
 *    shared one only when the copy says full or empty: an index line then
 *    travels between cores once per batch, not once per entry (rigtorp's
 *    SPSCQueue). The copies start from the segment at attach, so a process that
 *    takes over a lane takes over the indices.
 *
 * Not promised: a length while the other side works. A hint may be lost (full
 * ring, killed process); the header scan finds its slot.
 */
#ifndef KERNELS_RING_H
#define KERNELS_RING_H

#include "segment.h"

typedef struct {
    uint64_t head; /* producer: entries ever pushed */
    char pad_head[LINE_PAIR - 8];
    uint64_t tail; /* consumer: entries ever popped */
    char pad_tail[LINE_PAIR - 8];
    uint64_t entries[]; /* slot in the low half, generation in the high; plain, ordered by head and tail */
} ring_shared;

_Static_assert(sizeof(ring_shared) == RING_FIXED_BYTES,
               "segment.h reserves exactly head and tail before the entries");
_Static_assert(offsetof(ring_shared, tail) - offsetof(ring_shared, head) >= LINE_PAIR,
               "head and tail must not share a cache line or a prefetched pair");
_Static_assert(offsetof(ring_shared, entries) - offsetof(ring_shared, tail) >= LINE_PAIR,
               "the first entry must not share a line with tail");

/* One process's end. */
typedef struct {
    ring_shared *shared;
    uint64_t mask;        /* capacity - 1, from the geometry */
    uint64_t cached_head; /* consumer's copy */
    uint64_t cached_tail; /* producer's copy */
} ring_end;

/* Rings lie worker by worker, device by device, to_device before to_worker. */
static inline ring_shared *ring_at(char *base, const segment_layout *layout, uint32_t devices,
                                   uint32_t worker, uint32_t device, int to_worker) {
    uint64_t number = 2ull * ((uint64_t)worker * devices + device) + (to_worker ? 1 : 0);
    return (ring_shared *)(base + layout->rings_at + number * layout->ring_bytes);
}

static inline void ring_attach(ring_end *end, ring_shared *shared, uint32_t capacity) {
    end->shared = shared;
    end->mask = capacity - 1;
    end->cached_head = GET_ACQUIRE(shared->head);
    end->cached_tail = GET_ACQUIRE(shared->tail);
}

/* Producer. 0 when full. */
static inline int ring_push(ring_end *end, uint32_t slot, uint32_t generation) {
    ring_shared *shared = end->shared;
    uint64_t head = GET(shared->head);
    if (head - end->cached_tail > end->mask) {
        end->cached_tail = GET_ACQUIRE(shared->tail);
        if (head - end->cached_tail > end->mask) return 0;
    }
    STOP_POINT(20);
    shared->entries[head & end->mask] = (uint64_t)generation << 32 | slot;
    STOP_POINT(21);
#ifdef PLANTED_RACE_RING
    SET(shared->head, head + 1); /* the gate's self-test: publishing without release */
#else
    SET_RELEASE(shared->head, head + 1);
#endif
    STOP_POINT(22);
    return 1;
}

/* Consumer. 0 when empty. */
static inline int ring_pop(ring_end *end, uint32_t *slot, uint32_t *generation) {
    ring_shared *shared = end->shared;
    uint64_t tail = GET(shared->tail), entry;
    if (tail == end->cached_head) {
        end->cached_head = GET_ACQUIRE(shared->head);
        if (tail == end->cached_head) return 0;
        if (end->cached_head - tail > end->mask + 1) { /* damaged: drop all, the scan finds the slots */
            SET_RELEASE(shared->tail, end->cached_head);
            return 0;
        }
    }
    STOP_POINT(23);
    entry = shared->entries[tail & end->mask];
    STOP_POINT(24);
    SET_RELEASE(shared->tail, tail + 1);
    STOP_POINT(25);
    *slot = (uint32_t)entry;
    *generation = (uint32_t)(entry >> 32);
    return 1;
}

/* Best effort: the other side may be working. */
static inline uint64_t ring_length(const ring_end *end) {
    uint64_t tail = GET_ACQUIRE(end->shared->tail);
    uint64_t length = GET_ACQUIRE(end->shared->head) - tail;
    return length > end->mask + 1 ? 0 : length;
}

#endif
