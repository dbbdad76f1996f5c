/* What the native tests share: a segment without Python, and a work item whose answer can be checked. */
#ifndef TESTS_NATIVE_HARNESS_H
#define TESTS_NATIVE_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reap.h"
#include "ring.h"

#define FAIL(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))
#define CHECK(condition) ((condition) ? (void)0 : FAIL("%s:%d: %s", __FILE__, __LINE__, #condition))

#define SMALL_BYTES 1000 /* no multiple of a page: the rest of the page is out of bounds */
#define BIG_BYTES ((17u << 20) + 5)
#define WORDS 32 /* of a request's payload */

static int make_segment(uint32_t workers, uint32_t devices, uint32_t small_slots, uint32_t big_slots) {
    segment_header header;
    segment_layout layout;
    int fd = memfd_create("native-test", MFD_ALLOW_SEALING);
    memset(&header, 0, sizeof header);
    header.magic = SEGMENT_MAGIC;
    header.version = SEGMENT_VERSION;
    header.workers = workers;
    header.devices = devices;
    header.classes = 2;
    header.class_bytes[0] = SMALL_BYTES;
    header.class_slots[0] = small_slots;
    header.class_bytes[1] = BIG_BYTES;
    header.class_slots[1] = big_slots;
    CHECK(segment_measure(&header, &layout) == NULL);
    header.total_bytes = layout.total_bytes;
    CHECK(ftruncate(fd, (off_t)layout.total_bytes) == 0);
    CHECK(pwrite(fd, &header, sizeof header, 0) == sizeof header);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return fd;
}

/* Maps the segment once more, as another process would. */
static slot_table open_segment(int fd) {
    slot_table table;
    segment_header header;
    CHECK(pread(fd, &header, sizeof header, 0) == sizeof header);
    CHECK(segment_check(&header, (uint64_t)lseek(fd, 0, SEEK_END), &table.layout) == NULL);
    table.fd = fd;
    table.workers = header.workers;
    table.devices = header.devices;
    table.base = mmap(NULL, table.layout.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(table.base != MAP_FAILED);
    table.offsets = malloc(table.layout.slots * sizeof(uint64_t));
    table.capacities = malloc(table.layout.slots * sizeof(uint64_t));
    CHECK(table.offsets && table.capacities);
    segment_areas(&header, &table.layout, table.offsets, table.capacities);
    return table;
}

static void close_segment(slot_table *table) {
    munmap(table->base, table->layout.total_bytes);
    free(table->offsets);
    free(table->capacities);
}

static lane *worker_lane(const slot_table *table, uint32_t worker) {
    return segment_lane(table->base, &table->layout, worker);
}

static segment_header *geometry(const slot_table *table) { return (segment_header *)table->base; }

/* Payload and answer are plain memory: only the protocol orders them. */
static uint64_t *payload(const slot_table *table, uint32_t slot) {
    return (uint64_t *)(table->base + table->offsets[slot]);
}

static void write_payload(const slot_table *table, uint32_t slot, uint64_t id) {
    uint64_t *words = payload(table, slot);
    for (int i = 0; i < WORDS; i++) words[i] = id * 1000003u + (uint64_t)i;
    if (table->capacities[slot] == BIG_BYTES) table->base[table->offsets[slot] + BIG_BYTES - 1] = 1;
}

static uint64_t answer(const uint64_t *words) {
    uint64_t sum = 0;
    for (int i = 0; i < WORDS; i++) sum = sum * 31 + words[i];
    return sum;
}

static void write_answer(const slot_table *table, uint32_t slot) {
    payload(table, slot)[WORDS] = answer(payload(table, slot));
}

static int answer_is_right(const slot_table *table, uint32_t slot, uint64_t id) {
    uint64_t words[WORDS];
    for (int i = 0; i < WORDS; i++) words[i] = id * 1000003u + (uint64_t)i;
    return payload(table, slot)[WORDS] == answer(words);
}

static uint32_t publish(const slot_table *table, uint32_t slot, uint64_t id, uint32_t device) {
    slot_request request = {.request_id = id,
                            .deadline_ns = UINT64_MAX,
                            .request_bytes = WORDS * 8,
                            .operation = 1,
                            .cost_us = 100,
                            .device = (uint16_t)device};
    uint32_t generation;
    CHECK(slot_publish(table_slot(table, slot), &request, &generation));
    return generation;
}

static ring_end attach_ring(const slot_table *table, uint32_t worker, uint32_t device, int to_worker) {
    ring_end end;
    ring_attach(&end, ring_at(table->base, &table->layout, table->devices, worker, device, to_worker),
                table->layout.ring_capacity);
    return end;
}

#endif
