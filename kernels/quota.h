/* Limits that several processes share, without locks: a process may be killed or stopped at any instruction.
 *
 * A table has `entries` places, each a name (0: free; once taken, never given back) and the time at which
 * the next request would come if all came evenly (the generic cell rate algorithm, ITU-T I.371, annex A).
 * Behind them is one row per process: how many requests of each name it has inside. Only its owner writes a
 * row, or whoever knows that the owner is dead.
 */
#ifndef KERNELS_QUOTA_H
#define KERNELS_QUOTA_H

#include <stdint.h>

typedef struct {
    uint64_t name;
    int64_t due_ns; /* theoretical arrival time of the next request */
} quota_entry;

/* Place of `name` (not 0), claimed at first use; -1 when the table is full. */
static int64_t quota_place(quota_entry *table, int64_t entries, uint64_t name) {
    for (int64_t step = 0; step < entries; step++) {
        int64_t place = (int64_t)((name + (uint64_t)step) % (uint64_t)entries);
        uint64_t seen = __atomic_load_n(&table[place].name, __ATOMIC_ACQUIRE);
        if (!seen && __atomic_compare_exchange_n(&table[place].name, &seen, name, 0, __ATOMIC_ACQ_REL,
                                                 __ATOMIC_ACQUIRE))
            return place;
        if (seen == name) /* also when another process was quicker: `seen` is what it wrote */
            return place;
    }
    return -1;
}

/* 0 when a request may come in now, and it is counted; else nanoseconds until it may.
 * One request each `interval_ns`, `burst` of them at once. */
static int64_t quota_take(quota_entry *entry, int64_t now_ns, int64_t interval_ns, int64_t burst) {
    const int64_t room = interval_ns * (burst - 1);
    int64_t due = __atomic_load_n(&entry->due_ns, __ATOMIC_ACQUIRE);
    for (;;) {
        if (due - room > now_ns)
            return due - room - now_ns;
        int64_t next = (due > now_ns ? due : now_ns) + interval_ns;
        if (__atomic_compare_exchange_n(&entry->due_ns, &due, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return 0;
    }
}

/* Requests of the name at `place` that all processes have inside. */
static int64_t quota_inside(const uint32_t *rows, int64_t processes, int64_t entries, int64_t place) {
    int64_t total = 0;
    for (int64_t i = 0; i < processes; i++)
        total += __atomic_load_n(&rows[i * entries + place], __ATOMIC_SEQ_CST);
    return total;
}

/* Whether one more may come in. Counted first and looked at afterwards: two that come at the same time may
 * both be refused, never both let in. */
static int quota_enter(uint32_t *rows, int64_t processes, int64_t entries, int64_t own, int64_t place,
                       int64_t limit) {
    uint32_t *mine = &rows[own * entries + place];
    __atomic_add_fetch(mine, 1, __ATOMIC_SEQ_CST);
    if (quota_inside(rows, processes, entries, place) <= limit)
        return 1;
    __atomic_sub_fetch(mine, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void quota_leave(uint32_t *rows, int64_t entries, int64_t own, int64_t place) {
    __atomic_sub_fetch(&rows[own * entries + place], 1, __ATOMIC_SEQ_CST);
}

static void quota_forget(uint32_t *rows, int64_t entries, int64_t process) {
    for (int64_t place = 0; place < entries; place++)
        __atomic_store_n(&rows[process * entries + place], 0, __ATOMIC_SEQ_CST);
}

#endif
