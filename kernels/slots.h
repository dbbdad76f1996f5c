/* Slots: the state word, its edges, and the scans that find a slot again after a death.
 *
 * The state word is the only thing that is compared-and-swapped. Every other
 * field has one writer at a time, the one the state names, and becomes visible
 * with the swap that ends its turn. docs/shared-memory.md has the table of edges.
 */
#ifndef KERNELS_SLOTS_H
#define KERNELS_SLOTS_H

#include "fate.h"
#include "segment.h"

enum slot_state { SLOT_FREE, SLOT_WRITING, SLOT_READY, SLOT_CLAIMED, SLOT_DONE };

/* What a big slot keeps in memory after use: an image of 5 megapixels need not fault its pages in again. */
#define KEEP_BYTES (16ull << 20)

/* Bit of the operation: it gives way to what does not have it. */
#define OPERATION_YIELDS 0x80000000u

/* Two lines: all fields need 104 bytes. The first line holds what scans and schedulers read, so a scan
 * touches one line per slot; the second holds the record of the journey. Being a pair, they come together. */
typedef struct {
    uint64_t word; /* state (bits 0-7), borrowing epoch (8-31), generation (32-63) */
    uint64_t request_id;
    uint64_t deadline_ns;
    uint32_t owner_epoch; /* the worker incarnation that took it */
    uint16_t device;      /* lane it was pushed to */
    uint8_t abandoned;
    uint8_t pad;
    uint32_t operation;
    uint32_t cost_us;
    uint64_t request_bytes;
    uint64_t result_bytes;
    uint64_t fate; /* supervisor only, see fate.h */
    uint64_t body_hash;
    uint64_t t_ready_ns;
    uint64_t t_claimed_ns;
    uint64_t t_done_ns;
    uint32_t hash_generation; /* the generation body_hash speaks of: a slot is taken without clearing it */
    uint32_t pad_generation;
    uint64_t pad_line[3];
} slot_header;

_Static_assert(sizeof(slot_header) == SLOT_HEADER_BYTES, "a slot header is a pair of cache lines");
_Static_assert(sizeof(slot_header) % LINE_PAIR == 0,
               "headers of two slots must not share a line or a prefetched pair");
_Static_assert(offsetof(slot_header, word) == 0,
               "the state word opens the header, aligned for one atomic access");
_Static_assert(offsetof(slot_header, fate) + 8 == LINE, "what routes a slot fits the first line");
_Static_assert(offsetof(slot_header, body_hash) == LINE, "the record of a slot starts on the second line");
_Static_assert(__atomic_always_lock_free(8, 0), "shared memory needs lock-free 64-bit atomics");

static inline uint64_t word_make(uint32_t state, uint32_t epoch, uint32_t generation) {
    return (uint64_t)generation << 32 | (uint64_t)(epoch & MAX_EPOCH) << 8 | state;
}
static inline uint32_t word_state(uint64_t word) { return (uint32_t)(word & 0xFF); }
static inline uint32_t word_epoch(uint64_t word) { return (uint32_t)(word >> 8) & MAX_EPOCH; }
static inline uint32_t word_generation(uint64_t word) { return (uint32_t)(word >> 32); }
static inline uint64_t word_freed(uint64_t word) {
    return word_make(SLOT_FREE, 0, word_generation(word) + 1);
}

static inline int slot_swap(slot_header *slot, uint64_t from, uint64_t to) {
    return __atomic_compare_exchange_n(&slot->word, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline slot_header *slot_at(char *base, const segment_layout *layout, uint32_t slot) {
    return (slot_header *)(base + layout->headers_at) + slot;
}

/* The worker lane that owns a slot: by position, so that no shared byte can change it. */
static inline lane *slot_owner(char *base, const segment_layout *layout, uint32_t slot) {
    return segment_lane(base, layout, slot / layout->worker_slots);
}

/* Is the incarnation that took this slot confirmed dead? */
static inline int slot_orphaned(slot_header *slot, lane *owner) {
    uint32_t epoch = GET(slot->owner_epoch);
    return GET_ACQUIRE(owner->epoch) != epoch || GET_ACQUIRE(owner->reaped_epoch) == epoch;
}

/* What deaths have taught about the request in this slot. */
static inline slot_fate slot_read_fate(slot_header *slot, uint32_t generation) {
    return fate_unpack(GET(slot->fate), generation);
}

/* Supervisor. Takes the last death back; 0 when there is none to take back. */
static inline int slot_forgive(slot_header *slot) {
    uint32_t generation = word_generation(GET_ACQUIRE(slot->word));
    slot_fate fate = slot_read_fate(slot, generation);
    if (!fate_forgive(&fate)) return 0;
    SET(slot->fate, fate_pack(fate, generation));
    return 1;
}

/* A copy in which all fields belong to one state and generation; returns its word. */
static inline uint64_t slot_copy(slot_header *slot, slot_header *out) {
    uint64_t word = GET_ACQUIRE(slot->word), after;
    for (;;) {
        /* Each field is one acquire load, so the second look at the word cannot move before them. */
        const uint64_t *from = (const uint64_t *)slot;
        uint64_t copy[SLOT_HEADER_BYTES / 8];
        for (size_t i = 0; i < SLOT_HEADER_BYTES / 8; i++) copy[i] = GET_ACQUIRE(from[i]);
        after = GET_ACQUIRE(slot->word);
        if (after == word) {
            memcpy(out, copy, sizeof *out);
            return word;
        }
        word = after;
    }
}

/* ---- worker ------------------------------------------------------------------------------ */

/* The body hash of this generation, 0 when none was set. */
static inline uint64_t slot_hash(slot_header *slot, uint32_t generation) {
    return GET_ACQUIRE(slot->hash_generation) == generation ? GET(slot->body_hash) : 0;
}

static inline void slot_set_hash(slot_header *slot, uint32_t generation, uint64_t hash) {
    SET(slot->body_hash, hash);
    STOP_POINT(9);
    SET_RELEASE(slot->hash_generation, generation);
}

/* FREE -> WRITING. The owner's epoch, which the reaper goes by, is there before the swap. Threads of
 * one worker may race for a slot: before the swap they may write only what is the same for all. */
static inline int slot_take(slot_header *slot, uint32_t owner_epoch) {
    uint64_t word = GET_ACQUIRE(slot->word);
    if (word_state(word) != SLOT_FREE) return 0;
    SET(slot->owner_epoch, owner_epoch);
    STOP_POINT(1);
    if (!slot_swap(slot, word, word_make(SLOT_WRITING, 0, word_generation(word)))) return 0;
    STOP_POINT(2);
    SET(slot->abandoned, 0);
    SET(slot->request_bytes, 0);
    SET(slot->result_bytes, 0);
    SET(slot->t_ready_ns, 0);
    SET(slot->t_claimed_ns, 0);
    SET(slot->t_done_ns, 0);
    STOP_POINT(3);
    return 1;
}

typedef struct {
    uint64_t request_id, deadline_ns, request_bytes;
    uint32_t operation, cost_us;
    uint16_t device;
} slot_request;

/* WRITING -> READY. 0 when the slot is not WRITING. */
static inline int slot_publish(slot_header *slot, const slot_request *request, uint32_t *generation) {
    uint64_t word = GET_ACQUIRE(slot->word);
    if (word_state(word) != SLOT_WRITING) return 0;
    SET(slot->request_id, request->request_id);
    SET(slot->deadline_ns, request->deadline_ns);
    SET(slot->operation, request->operation);
    SET(slot->device, request->device);
    SET(slot->cost_us, request->cost_us);
    SET(slot->request_bytes, request->request_bytes);
    SET(slot->t_ready_ns, monotonic_now());
    STOP_POINT(4);
    *generation = word_generation(word);
#ifdef PLANTED_RACE_SLOT
    SET(slot->word, word_make(SLOT_READY, 0, *generation)); /* the gate's self-test: no release */
#else
    if (!slot_swap(slot, word, word_make(SLOT_READY, 0, *generation))) return 0;
#endif
    STOP_POINT(5);
    return 1;
}

/* READY -> FREE(g+1), by the owner. 0: a device has it, or it is another generation. */
static inline int slot_withdraw(slot_header *slot, uint32_t generation) {
    uint64_t word = word_make(SLOT_READY, 0, generation);
    return slot_swap(slot, word, word_freed(word));
}

/* The word of a slot that its owner may give back (DONE, or WRITING), else 0. Two steps, because
 * big slots give their pages back in between, while nobody else may take them. */
static inline uint64_t slot_releasable(slot_header *slot, uint32_t generation) {
    uint64_t word = GET_ACQUIRE(slot->word);
    uint32_t state = word_state(word);
    if (word_generation(word) != generation || (state != SLOT_DONE && state != SLOT_WRITING)) return 0;
    return word;
}

/* DONE/WRITING -> FREE(g+1), by the owner. */
static inline int slot_release(slot_header *slot, uint64_t releasable) {
    int freed;
    STOP_POINT(6);
    freed = slot_swap(slot, releasable, word_freed(releasable));
    STOP_POINT(7);
    return freed;
}

/* Length of the result when the slot is DONE in this generation, else -1; 0 when the length
 * cannot be (larger than the slot). Read once. */
static inline int64_t slot_result(slot_header *slot, uint32_t generation, uint64_t capacity) {
    uint64_t word = GET_ACQUIRE(slot->word), bytes;
    if (word_state(word) != SLOT_DONE || word_generation(word) != generation) return -1;
    bytes = GET(slot->result_bytes);
    return bytes > capacity ? 0 : (int64_t)bytes;
}

/* ---- device ------------------------------------------------------------------------------ */

/* READY -> CLAIMED(epoch). */
static inline int slot_claim(slot_header *slot, uint32_t generation, uint32_t epoch) {
    STOP_POINT(10);
    if (!slot_swap(slot, word_make(SLOT_READY, 0, generation), word_make(SLOT_CLAIMED, epoch, generation)))
        return 0;
    STOP_POINT(11);
    SET(slot->t_claimed_ns, monotonic_now());
    STOP_POINT(12);
    return 1;
}

enum slot_finished { FINISH_LOST, FINISH_DONE, FINISH_ORPHAN };

/* CLAIMED(epoch) -> DONE, keeping the epoch for the log.
 *
 * A result whose owner is dead is freed here. The owner may be reaped between our look and our
 * swap; so we look again behind a full barrier. The supervisor does the mirror image (marks the
 * epoch, barrier, scans): one of the two sees the other, and the swap lets one of them win. */
static inline enum slot_finished slot_finish(slot_header *slot, lane *owner, uint32_t generation,
                                             uint32_t epoch, uint64_t result_bytes) {
    uint64_t claimed = word_make(SLOT_CLAIMED, epoch, generation);
    uint64_t done = word_make(SLOT_DONE, epoch, generation);
    if (GET_ACQUIRE(slot->word) != claimed) return FINISH_LOST;
    SET(slot->result_bytes, result_bytes);
    SET(slot->t_done_ns, monotonic_now());
    STOP_POINT(13);
    if (!slot_swap(slot, claimed, done)) return FINISH_LOST;
    STOP_POINT(14);
    FULL_BARRIER();
    if (!slot_orphaned(slot, owner)) return FINISH_DONE;
    slot_swap(slot, done, word_freed(done));
    return FINISH_ORPHAN;
}

/* Is this CLAIMED slot an orphan of a dead worker? The device then frees it instead of finishing. */
static inline int slot_claimed_orphan(slot_header *slot, lane *owner, uint32_t generation, uint32_t epoch) {
    return GET_ACQUIRE(slot->word) == word_make(SLOT_CLAIMED, epoch, generation) &&
           slot_orphaned(slot, owner);
}

/* CLAIMED(epoch) -> FREE(g+1). */
static inline int slot_free_claimed(slot_header *slot, uint32_t generation, uint32_t epoch) {
    uint64_t claimed = word_make(SLOT_CLAIMED, epoch, generation);
    return slot_swap(slot, claimed, word_freed(claimed));
}

#endif
