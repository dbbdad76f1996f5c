/* Scans over all slot headers: what a death left behind, what waits, and giving pages back. */
#ifndef KERNELS_REAP_H
#define KERNELS_REAP_H

#include <fcntl.h>
#include <linux/falloc.h>

#include "slots.h"

/* A process's view of the slot table: computed from the geometry at attach. */
typedef struct {
    int fd;
    char *base;
    segment_layout layout;
    uint32_t workers, devices;
    uint64_t *offsets;    /* of data areas, in the file and from base */
    uint64_t *capacities; /* bytes */
} slot_table;

static inline slot_header *table_slot(const slot_table *table, uint32_t slot) {
    return slot_at(table->base, &table->layout, slot);
}
static inline lane *table_owner(const slot_table *table, uint32_t slot) {
    return slot_owner(table->base, &table->layout, slot);
}
static inline lane *table_device(const slot_table *table, uint32_t device) {
    return segment_lane(table->base, &table->layout, table->workers + device);
}

/* Gives the pages of a big slot behind the first KEEP_BYTES back to the system (they read as zeros
 * again). Only for a caller that alone may touch the slot. The answer of fallocate, 0 when small. */
static inline int table_give_back(const slot_table *table, uint32_t slot) {
    uint64_t capacity = table->capacities[slot];
    if (capacity <= KEEP_BYTES) return 0;
    return fallocate(table->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)(table->offsets[slot] + KEEP_BYTES), (off_t)(capacity - KEEP_BYTES));
}

/* FREE -> WRITING on the smallest free slot of `worker` that holds `bytes`; -1 when there is none. */
static inline int64_t table_take(const slot_table *table, uint32_t worker, uint64_t bytes) {
    uint32_t first = worker * table->layout.worker_slots, last = first + table->layout.worker_slots;
    uint32_t epoch = GET(segment_lane(table->base, &table->layout, worker)->epoch);
    for (uint32_t slot = first; slot < last; slot++)
        if (table->capacities[slot] >= bytes && slot_take(table_slot(table, slot), epoch)) return slot;
    return -1;
}

/* DONE/WRITING -> FREE(g+1), pages first: until the swap nobody else may take the slot. */
static inline int table_release(const slot_table *table, uint32_t slot, uint32_t generation) {
    slot_header *header = table_slot(table, slot);
    uint64_t word = slot_releasable(header, generation);
    if (!word) return 0;
    table_give_back(table, slot);
    return slot_release(header, word);
}

/* READY -> FREE(g+1). A device may claim it until the swap, so pages go back afterwards, with the
 * slot taken in hand once more. */
static inline int table_withdraw(const slot_table *table, uint32_t slot, uint32_t generation) {
    slot_header *header = table_slot(table, slot);
    if (!slot_withdraw(header, generation)) return 0;
    STOP_POINT(8);
    if (table->capacities[slot] > KEEP_BYTES && slot_take(header, GET(table_owner(table, slot)->epoch)))
        table_release(table, slot, word_generation(GET_ACQUIRE(header->word)));
    return 1;
}

/* CLAIMED(epoch) -> FREE(g+1) when the owner is dead. */
static inline int table_free_orphan(const slot_table *table, uint32_t slot, uint32_t generation,
                                    uint32_t epoch) {
    slot_header *header = table_slot(table, slot);
    if (!slot_claimed_orphan(header, table_owner(table, slot), generation, epoch)) return 0;
    table_give_back(table, slot);
    return slot_free_claimed(header, generation, epoch);
}

/* CLAIMED(epoch) -> DONE, or -> FREE(g+1) when the owner is dead. */
static inline enum slot_finished table_finish(const slot_table *table, uint32_t slot, uint32_t generation,
                                              uint32_t epoch, uint64_t result_bytes) {
    if (table_free_orphan(table, slot, generation, epoch)) return FINISH_ORPHAN;
    return slot_finish(table_slot(table, slot), table_owner(table, slot), generation, epoch, result_bytes);
}

/* (generation, slot) of every slot of [first, last) in `state`; with `live`, only of live owners. */
static inline uint32_t table_list(const slot_table *table, uint32_t first, uint32_t last, uint32_t state,
                                  int live, uint64_t *found) {
    uint32_t count = 0;
    for (uint32_t slot = first; slot < last; slot++) {
        slot_header *header = table_slot(table, slot);
        uint64_t word = GET_ACQUIRE(header->word);
        if (word_state(word) != state) continue;
        if (live && slot_orphaned(header, table_owner(table, slot))) continue;
        found[count++] = (uint64_t)word_generation(word) << 32 | slot;
    }
    return count;
}

static inline uint32_t table_count(const slot_table *table, uint32_t state) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < table->layout.slots; slot++)
        count += word_state(GET(table_slot(table, slot)->word)) == state;
    return count;
}

/* Estimated cost that waits or runs, per device lane. READY counts for the lane it was pushed to,
 * CLAIMED for the lane that has it. What waits with one of the bits `without` in its operation does not count. */
static inline void table_pending(const slot_table *table, uint32_t without, uint64_t *pending) {
    uint32_t epochs[MAX_LANES];
    for (uint32_t device = 0; device < table->devices; device++) {
        pending[device] = 0;
        epochs[device] = GET(table_device(table, device)->epoch);
    }
    for (uint32_t slot = 0; slot < table->layout.slots; slot++) {
        slot_header *header = table_slot(table, slot);
        uint64_t word = GET_ACQUIRE(header->word);
        uint32_t device = GET(header->device);
        if (word_state(word) == SLOT_CLAIMED) {
            for (uint32_t i = 0; i < table->devices; i++)
                if (epochs[i] == word_epoch(word)) device = i;
        } else if (word_state(word) != SLOT_READY || GET(header->operation) & without) {
            continue;
        }
        if (device < table->devices) pending[device] += GET(header->cost_us);
    }
}

/* ---- supervisor, after the confirmed exit of the process in question ----------------------- */

typedef struct {
    uint32_t *requeued, *poisoned, *freed; /* room for layout.slots each */
    uint32_t requeued_count, poisoned_count, freed_count;
} reaped_device;

/* CLAIMED(epoch) -> READY with the lesson of this death, orphans -> FREE(g+1).
 * With `blame` 0 (killed from outside, by the memory cgroup) nothing is learned. */
static inline void table_reap_device(const slot_table *table, uint32_t epoch, int blame, reaped_device *out) {
    uint32_t claimed = 0;
    out->requeued_count = out->poisoned_count = out->freed_count = 0;
    for (uint32_t device = 0; device < table->devices; device++) {
        lane *it = table_device(table, device);
        if (GET(it->epoch) != epoch) continue;
        SET(it->stage_start_ns, 0); /* it computes no more */
        SET(it->sleeping, 0);
        SET_RELEASE(it->reaped_epoch, epoch);
    }
    for (uint32_t slot = 0; slot < table->layout.slots; slot++) {
        uint64_t word = GET_ACQUIRE(table_slot(table, slot)->word);
        claimed += word_state(word) == SLOT_CLAIMED && word_epoch(word) == epoch;
    }
    for (uint32_t slot = 0; slot < table->layout.slots; slot++) {
        slot_header *header = table_slot(table, slot);
        uint64_t word = GET_ACQUIRE(header->word);
        uint32_t generation = word_generation(word);
        if (word_state(word) != SLOT_CLAIMED || word_epoch(word) != epoch) continue;
        if (table_free_orphan(table, slot, generation, epoch)) {
            out->freed[out->freed_count++] = slot;
            continue;
        }
        if (blame) {
            slot_fate fate = fate_after_death(slot_read_fate(header, generation), claimed == 1);
            SET(header->fate, fate_pack(fate, generation));
            if (fate.verdict == VERDICT_POISON) out->poisoned[out->poisoned_count++] = slot;
        }
        slot_swap(header, word, word_make(SLOT_READY, 0, generation));
        out->requeued[out->requeued_count++] = slot;
    }
}

typedef struct {
    uint32_t *freed;  /* room for layout.worker_slots */
    uint64_t *hashes; /* room for layout.worker_slots */
    uint32_t freed_count, hash_count;
} reaped_worker;

/* WRITING/READY/DONE -> FREE(g+1). CLAIMED ones are freed when their device posts them or dies.
 * Called before the lane has a new process: only therefore may pages go back after the swap. */
static inline void table_reap_worker(const slot_table *table, uint32_t worker, uint32_t epoch,
                                     reaped_worker *out) {
    uint32_t first = worker * table->layout.worker_slots, last = first + table->layout.worker_slots;
    lane *it = segment_lane(table->base, &table->layout, worker);
    out->freed_count = out->hash_count = 0;
    SET(it->sleeping, 0);
    SET_RELEASE(it->reaped_epoch, epoch);
    FULL_BARRIER(); /* the other half of slot_finish */
    for (uint32_t slot = first; slot < last; slot++) {
        slot_header *header = table_slot(table, slot);
        uint64_t word = GET_ACQUIRE(header->word);
        for (;;) {
            uint32_t state = word_state(word);
            if (state == SLOT_FREE || state == SLOT_CLAIMED) break;
            if (slot_swap(header, word, word_freed(word))) {
                uint64_t hash = slot_hash(header, word_generation(word));
                if (state == SLOT_WRITING && hash) out->hashes[out->hash_count++] = hash;
                out->freed[out->freed_count++] = slot;
                table_give_back(table, slot);
                break;
            }
            word = GET_ACQUIRE(header->word); /* a device claimed or finished it meanwhile */
        }
    }
}

#endif
