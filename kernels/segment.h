/* Layout of the shared segment: what lies where, and the checks that hold it there.
 *
 * docs/shared-memory.md draws this file. Both ends are built from it, so the
 * assertions below are the contract between processes. Everything that more
 * than one process touches is read with GET and written with SET (relaxed
 * atomics: no torn values) unless an ordering is named.
 */
#ifndef KERNELS_SEGMENT_H
#define KERNELS_SEGMENT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define SEGMENT_MAGIC 0x31474553504C5050ull /* "PPLPSEG1" read as little-endian bytes */
#define SEGMENT_VERSION 3u

#define LINE 64       /* cache line of every CPU this runs on */
#define LINE_PAIR 128 /* the adjacent-line prefetcher fetches two: keep writers a pair apart */
#define PAGE 4096
#define DATA_ALIGN 65536 /* a multiple of every page size Linux uses: holes never cross slots */

#define MAX_LANES 64  /* workers, and devices */
#define MAX_CLASSES 8 /* slot sizes */
#define MAX_WORKER_SLOTS 4096
#define MAX_CLASS_BYTES (1ull << 32)
#define MAX_EPOCH 0xFFFFFFu /* 24 bits in the state word */
#define NO_EPOCH 0xFFFFFFFFu
#define LANE_COUNTERS 976
#define QUARANTINE_ENTRIES 128

#define GET(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define GET_ACQUIRE(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define SET_RELEASE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define FULL_BARRIER() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* A place where the kill test stops and kills a process; nothing in production. */
#ifdef STOP_POINTS
void stop_point(int step);
#define STOP_POINT(step) stop_point(step)
#else
#define STOP_POINT(step) ((void)0)
#endif

enum lane_state { LANE_EMPTY, LANE_STARTING, LANE_READY, LANE_DRAINING, LANE_FAILED };

/* One process's place. Writers are kept on lines of their own, counters behind them. */
typedef struct {
    /* supervisor */
    uint32_t pid;
    uint32_t epoch;        /* number of this incarnation */
    uint32_t state;        /* also the process itself, for READY */
    uint32_t reaped_epoch; /* the incarnation that was last confirmed dead */
    char pad_supervisor[LINE_PAIR - 16];
    /* the process's native beat thread */
    uint64_t heartbeat_ns;
    char pad_beat[LINE - 8];
    /* the process's main thread */
    uint64_t tick_ns;
    uint64_t stage_start_ns;
    uint64_t stage_expected_ns;
    uint64_t stage_whole;     /* not 0: the stage takes all cores */
    uint64_t cost_scale_bits; /* a double */
    char pad_process[LINE - 40];
    /* the process, read by its peers at every push */
    uint32_t sleeping;
    char pad_sleeping[LINE_PAIR - 4];
    uint64_t counters[LANE_COUNTERS];
} lane;

_Static_assert(sizeof(lane) == 2 * PAGE, "a lane is whole pages: two processes never share a page of counters");
_Static_assert(offsetof(lane, heartbeat_ns) % LINE == 0, "the beat thread writes a line of its own");
_Static_assert(offsetof(lane, heartbeat_ns) - offsetof(lane, pid) >= LINE_PAIR,
               "beats must not disturb those who read pid, epoch and state");
_Static_assert(offsetof(lane, tick_ns) % LINE == 0, "the main thread writes a line of its own");
_Static_assert(offsetof(lane, sleeping) % LINE_PAIR == 0, "the sleeping flag has a pair of lines of its own");
_Static_assert(offsetof(lane, counters) % LINE == 0, "counters start on a line");
_Static_assert(offsetof(lane, counters) - offsetof(lane, sleeping) >= LINE_PAIR,
               "counting must not disturb those who read the sleeping flag");

typedef struct {
    uint64_t hash;
    uint64_t until_ns; /* 0: unused */
} quarantine_entry;

/* The first page(s). Geometry is written once, before the segment is shared. */
typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t workers;
    uint32_t devices;
    uint32_t classes;
    uint64_t total_bytes;
    uint64_t class_bytes[MAX_CLASSES];
    uint32_t class_slots[MAX_CLASSES]; /* per worker */
    char pad_geometry[LINE_PAIR];
    /* supervisor */
    uint64_t scan_epoch;
    uint32_t draining;
    char pad_supervisor[LINE_PAIR - 12];
    quarantine_entry quarantine[QUARANTINE_ENTRIES];
    char pad_page[4096 - 256 - 128 - QUARANTINE_ENTRIES * 16];
} segment_header;

_Static_assert(sizeof(segment_header) == PAGE, "lanes start on the second page");
_Static_assert(offsetof(segment_header, scan_epoch) % LINE_PAIR == 0,
               "the scan epoch is polled by everybody and has lines of its own");
_Static_assert(offsetof(segment_header, quarantine) % LINE == 0, "the quarantine table starts on a line");

/* Where things lie: computed by every process from the geometry, never read from shared memory. */
typedef struct {
    uint32_t worker_slots;  /* slots per worker */
    uint32_t slots;         /* all slots */
    uint32_t ring_capacity; /* entries, a power of two */
    uint64_t lanes_at;      /* worker lanes, then device lanes */
    uint64_t rings_at;
    uint64_t ring_bytes;
    uint64_t headers_at;
    uint64_t data_at;
    uint64_t worker_data_bytes;
    uint64_t total_bytes;
} segment_layout;

#define RING_FIXED_BYTES (2 * LINE_PAIR) /* head and tail; asserted in ring.h */
#define SLOT_HEADER_BYTES 128            /* asserted in slots.h */

static inline uint64_t round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* NULL when the geometry is possible, else what is wrong with it. */
static inline const char *segment_measure(const segment_header *header, segment_layout *out) {
    uint64_t worker_slots = 0, worker_data = 0, capacity = 2;
    if (header->workers < 1 || header->workers > MAX_LANES) return "workers must be 1..64";
    if (header->devices < 1 || header->devices > MAX_LANES) return "devices must be 1..64";
    if (header->classes < 1 || header->classes > MAX_CLASSES) return "there must be 1..8 size classes";
    for (uint32_t i = 0; i < header->classes; i++) {
        uint64_t bytes = header->class_bytes[i];
        if (bytes < 1 || bytes > MAX_CLASS_BYTES) return "a size class must have 1..2**32 bytes";
        if (i && bytes <= header->class_bytes[i - 1]) return "size classes must ascend";
        if (header->class_slots[i] < 1) return "a size class must have a slot";
        worker_slots += header->class_slots[i];
        worker_data += header->class_slots[i] * round_up(bytes, DATA_ALIGN);
    }
    if (worker_slots > MAX_WORKER_SLOTS) return "a worker may own 4096 slots at most";
    while (capacity < 2 * worker_slots) capacity *= 2;
    uint64_t rings = 2ull * header->workers * header->devices;
    out->worker_slots = (uint32_t)worker_slots;
    out->slots = (uint32_t)(worker_slots * header->workers);
    out->ring_capacity = (uint32_t)capacity;
    out->lanes_at = sizeof(segment_header);
    out->rings_at = out->lanes_at + (header->workers + header->devices) * sizeof(lane);
    out->ring_bytes = round_up(RING_FIXED_BYTES + capacity * 8, LINE_PAIR);
    out->headers_at = out->rings_at + rings * out->ring_bytes;
    out->data_at = round_up(out->headers_at + (uint64_t)out->slots * SLOT_HEADER_BYTES, DATA_ALIGN);
    out->worker_data_bytes = worker_data;
    out->total_bytes = out->data_at + header->workers * worker_data;
    if (out->total_bytes > 1ull << 46) return "the segment would be larger than 64 TiB";
    return NULL;
}

/* NULL when `header` describes a segment of exactly `file_bytes`, else what is wrong. */
static inline const char *segment_check(const segment_header *header, uint64_t file_bytes,
                                        segment_layout *out) {
    const char *fault;
    if (GET_ACQUIRE(header->magic) != SEGMENT_MAGIC) return "this is not a segment (wrong magic)";
    if (header->version != SEGMENT_VERSION) return "the segment has another layout version";
    fault = segment_measure(header, out);
    if (fault) return fault;
    if (header->total_bytes != out->total_bytes || file_bytes != out->total_bytes)
        return "the segment's size does not match its geometry";
    return NULL;
}

static inline lane *segment_lane(char *base, const segment_layout *layout, uint32_t index) {
    return (lane *)(base + layout->lanes_at) + index;
}

/* Data area and capacity of every slot of the segment, in slot order. */
static inline void segment_areas(const segment_header *header, const segment_layout *layout,
                                 uint64_t *offsets, uint64_t *capacities) {
    uint64_t offset = layout->data_at;
    uint32_t slot = 0;
    for (uint32_t worker = 0; worker < header->workers; worker++)
        for (uint32_t class = 0; class < header->classes; class ++)
            for (uint32_t i = 0; i < header->class_slots[class]; i++) {
                offsets[slot] = offset;
                capacities[slot++] = header->class_bytes[class];
                offset += round_up(header->class_bytes[class], DATA_ALIGN);
            }
}

static inline uint64_t monotonic_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Supervisor. The pid is last: the child waits for it. */
static inline void lane_incarnate(lane *it, uint32_t pid, uint32_t epoch) {
    uint64_t now = monotonic_now();
    double one = 1.0;
    uint64_t bits;
    memcpy(&bits, &one, sizeof bits);
    SET(it->heartbeat_ns, now);
    SET(it->tick_ns, now);
    SET(it->stage_start_ns, 0);
    SET(it->stage_expected_ns, 0);
    SET(it->stage_whole, 0);
    SET(it->cost_scale_bits, bits);
    SET(it->sleeping, 0);
    SET(it->epoch, epoch);
    SET(it->state, LANE_STARTING);
    SET_RELEASE(it->pid, pid);
}

/* Full barrier between "I sleep" and the last look for work; pairs with lane_sleeping. */
static inline void lane_prepare_sleep(lane *it) {
    SET(it->sleeping, 1);
    STOP_POINT(30);
    FULL_BARRIER();
}

/* Full barrier between the push before and this look: one side always sees the other. */
static inline int lane_sleeping(lane *it) {
    FULL_BARRIER();
    return GET(it->sleeping) != 0;
}

/* Supervisor: replaces the same hash, else the entry that expires first. */
static inline void quarantine_put(segment_header *header, uint64_t hash, uint64_t until_ns) {
    quarantine_entry *chosen = &header->quarantine[0];
    for (int i = 0; i < QUARANTINE_ENTRIES; i++) {
        quarantine_entry *entry = &header->quarantine[i];
        if (GET(entry->until_ns) && GET(entry->hash) == hash) {
            chosen = entry;
            break;
        }
        if (GET(entry->until_ns) < GET(chosen->until_ns)) chosen = entry;
    }
    /* Readers take an entry only when until_ns is the same before and after the hash. */
    __atomic_store_n(&chosen->until_ns, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&chosen->hash, hash, __ATOMIC_SEQ_CST);
    __atomic_store_n(&chosen->until_ns, until_ns, __ATOMIC_SEQ_CST);
}

static inline int quarantine_count(segment_header *header, uint64_t now) {
    int count = 0;
    for (int i = 0; i < QUARANTINE_ENTRIES; i++) count += GET(header->quarantine[i].until_ns) > now;
    return count;
}

static inline int quarantine_has(segment_header *header, uint64_t hash, uint64_t now) {
    for (int i = 0; i < QUARANTINE_ENTRIES; i++) {
        quarantine_entry *entry = &header->quarantine[i];
        uint64_t until = __atomic_load_n(&entry->until_ns, __ATOMIC_SEQ_CST);
        if (until > now && __atomic_load_n(&entry->hash, __ATOMIC_SEQ_CST) == hash &&
            __atomic_load_n(&entry->until_ns, __ATOMIC_SEQ_CST) == until)
            return 1;
    }
    return 0;
}

#endif
