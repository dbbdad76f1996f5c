/* The whole protocol between threads, for the sanitizers: two workers, two devices, a supervisor.
 *
 *     threads_test shared|separate REQUESTS
 *
 * shared: one mapping. The thread sanitizer knows memory by its address, so only here
 * does it see both sides of a hand-over. separate: every thread maps the memfd for
 * itself, as processes do.
 *
 * Devices and workers die on the way (their thread returns with slots in hand); the
 * main thread joins them, which is the confirmed exit, reaps and starts the next
 * incarnation. In the end every request was answered once and every slot is free.
 */
#include "harness.h"

#include <pthread.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define WORKERS 2
#define DEVICES 2
#define IN_FLIGHT 4
#define LIMIT_NS 120000000000ull

static int fd, separate;
static uint64_t requests, started_ns;
static slot_table common;
static int *answered, *taken_back; /* per request id */
static int finished, withdrawn, stolen, orphans;

typedef struct {
    uint32_t index, epoch;
    uint64_t steps_to_live;
    pthread_t thread;
} process;

static slot_table my_view(void) { return separate ? open_segment(fd) : common; }

static void leave_view(slot_table *view) {
    if (separate) close_segment(view);
}

static void within_limit(void) { CHECK(monotonic_now() - started_ns < LIMIT_NS); }

/* ---- a worker answers the requests whose number is its own modulo WORKERS ---- */

typedef struct {
    uint64_t id;
    uint32_t slot, generation;
} flight;

static int land(const slot_table *view, flight *flights, uint32_t slot, uint32_t generation) {
    for (int i = 0; i < IN_FLIGHT; i++) {
        flight *it = &flights[i];
        if (it->id == UINT64_MAX || it->slot != slot || it->generation != generation) continue;
        int64_t length = slot_result(table_slot(view, slot), generation, view->capacities[slot]);
        if (length < 0) return 0;
        CHECK(length == 8 && answer_is_right(view, slot, it->id));
        CHECK(__atomic_add_fetch(&answered[it->id], 1, __ATOMIC_RELAXED) == 1);
        it->id = UINT64_MAX;
        CHECK(table_release(view, slot, generation));
        return 1;
    }
    return 0;
}

static void launch(const slot_table *view, flight *it, uint64_t id, uint32_t worker, ring_end *rings) {
    uint32_t device = (uint32_t)(id / WORKERS % DEVICES);
    int64_t slot = table_take(view, worker, id % 7 == 3 ? SMALL_BYTES + 1 : 8 * (WORDS + 1));
    if (slot < 0) return;
    slot_set_hash(table_slot(view, (uint32_t)slot),
                  word_generation(GET(table_slot(view, (uint32_t)slot)->word)), id + 1);
    write_payload(view, (uint32_t)slot, id);
#ifdef PLANTED_OVERFLOW
    view->base[view->offsets[slot] + view->capacities[slot]] = 1;
#endif
    uint32_t generation = publish(view, (uint32_t)slot, id, device);
    if (id % 5 == 4 && !GET(taken_back[id]) && table_withdraw(view, (uint32_t)slot, generation)) {
        SET(taken_back[id], 1);
        __atomic_add_fetch(&withdrawn, 1, __ATOMIC_RELAXED);
        return;
    }
    ring_push(&rings[device], (uint32_t)slot, generation);
    *it = (flight){id, (uint32_t)slot, generation};
}

static void *run_worker(void *argument) {
    process *me = argument;
    slot_table view = my_view();
    ring_end out[DEVICES], in[DEVICES];
    flight flights[IN_FLIGHT];
    uint64_t *found = malloc(view.layout.worker_slots * sizeof *found);
    uint64_t next = me->index, done = 0;
    for (int i = 0; i < IN_FLIGHT; i++) flights[i].id = UINT64_MAX;
    for (uint32_t d = 0; d < DEVICES; d++) {
        out[d] = attach_ring(&view, me->index, d, 0);
        in[d] = attach_ring(&view, me->index, d, 1);
    }
    while (done * WORKERS + me->index < requests && me->steps_to_live) {
        uint32_t slot, generation, first = me->index * view.layout.worker_slots;
        within_limit();
        for (int i = 0; i < IN_FLIGHT; i++) {
            while (next < requests && GET(answered[next])) next += WORKERS;
            if (flights[i].id == UINT64_MAX && next < requests) {
                launch(&view, &flights[i], next, me->index, out);
                if (flights[i].id == next) next += WORKERS;
            }
        }
        for (uint32_t d = 0; d < DEVICES; d++)
            while (ring_pop(&in[d], &slot, &generation)) land(&view, flights, slot, generation);
        uint32_t count = table_list(&view, first, first + view.layout.worker_slots, SLOT_DONE, 1, found);
        for (uint32_t i = 0; i < count; i++)
            land(&view, flights, (uint32_t)found[i], (uint32_t)(found[i] >> 32));
        for (done = 0; done * WORKERS + me->index < requests && GET(answered[done * WORKERS + me->index]);)
            done++;
        if (me->steps_to_live != UINT64_MAX) me->steps_to_live--;
        sched_yield();
    }
    free(found);
    leave_view(&view);
    return NULL;
}

/* ---- a device claims by hints and by scans, two slots at once ---- */

static void *run_device(void *argument) {
    process *me = argument;
    slot_table view = my_view();
    ring_end in[WORKERS], out[WORKERS];
    uint64_t *found = malloc(view.layout.slots * sizeof *found);
    for (uint32_t w = 0; w < WORKERS; w++) {
        in[w] = attach_ring(&view, w, me->index, 0);
        out[w] = attach_ring(&view, w, me->index, 1);
    }
    for (;;) {
        uint32_t slots[2], generations[2], claimed = 0;
        lane *mine = table_device(&view, me->index);
        within_limit();
        for (uint32_t w = 0; w < WORKERS && claimed < 2; w++)
            if (ring_pop(&in[w], &slots[claimed], &generations[claimed]) &&
                slot_claim(table_slot(&view, slots[claimed]), generations[claimed], me->epoch))
                claimed++;
        uint32_t count = table_list(&view, 0, view.layout.slots, SLOT_READY, 0, found);
        for (uint32_t i = 0; i < count && claimed < 2; i++) {
            slots[claimed] = (uint32_t)found[i];
            generations[claimed] = (uint32_t)(found[i] >> 32);
            if (!slot_claim(table_slot(&view, slots[claimed]), generations[claimed], me->epoch)) continue;
            __atomic_add_fetch(&stolen, 1, __ATOMIC_RELAXED);
            claimed++;
        }
        if (!claimed && GET_ACQUIRE(finished)) break;
        SET(mine->stage_start_ns, monotonic_now());
        for (uint32_t i = 0; i < claimed; i++) write_answer(&view, slots[i]);
        /* Now and then slow, so that a worker dies meanwhile and leaves an orphan. */
        for (int i = 0; claimed && generations[0] % 4 == 0 && i < 50; i++) sched_yield();
        SET(mine->stage_start_ns, 0);
        if (claimed && me->steps_to_live != UINT64_MAX && !--me->steps_to_live)
            break; /* dies with slots in hand */
        for (uint32_t i = 0; i < claimed; i++) {
            switch (table_finish(&view, slots[i], generations[i], me->epoch, 8)) {
            case FINISH_DONE:
                ring_push(&out[slots[i] / view.layout.worker_slots], slots[i], generations[i]);
                break;
            case FINISH_ORPHAN:
                __atomic_add_fetch(&orphans, 1, __ATOMIC_RELAXED);
                break;
            case FINISH_LOST:
                FAIL("a living device lost slot %u", slots[i]);
            }
        }
        sched_yield();
    }
    free(found);
    leave_view(&view);
    return NULL;
}

/* ---- the supervisor ---- */

static void start(process *it, void *(*run)(void *), lane *place) {
    lane_incarnate(place, 1000 + it->epoch, it->epoch);
    CHECK(pthread_create(&it->thread, NULL, run, it) == 0);
}

static void look_around(const slot_table *view) {
    uint64_t pending[MAX_LANES];
    slot_header copy;
    table_pending(view, 0, pending);
    CHECK(pending[0] <= 100ull * view->layout.slots && pending[1] <= 100ull * view->layout.slots);
    for (uint32_t slot = 0; slot < view->layout.slots; slot++) {
        uint64_t word = slot_copy(table_slot(view, slot), &copy);
        CHECK(word_state(word) <= SLOT_DONE && copy.word == word);
        CHECK(word_state(word) != SLOT_READY || (copy.request_id < requests && copy.cost_us == 100));
    }
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    separate = !strcmp(arguments[1], "separate");
    requests = strtoull(arguments[2], NULL, 10);
    started_ns = monotonic_now();
    answered = calloc(requests, sizeof *answered);
    taken_back = calloc(requests, sizeof *taken_back);
    fd = make_segment(WORKERS, DEVICES, 3, 1);
    common = open_segment(fd);
#ifdef __SANITIZE_ADDRESS__
    for (uint32_t slot = 0; slot < common.layout.slots; slot++) {
        uint64_t end = common.offsets[slot] + common.capacities[slot];
        __asan_poison_memory_region(common.base + end, round_up(end, DATA_ALIGN) - end);
    }
#endif
#ifdef PLANTED_UNDEFINED
    int planted = INT_MAX;
    planted += count;
    CHECK(planted);
#endif
    reaped_device lost = {malloc(common.layout.slots * 4),
                          malloc(common.layout.slots * 4),
                          malloc(common.layout.slots * 4),
                          0,
                          0,
                          0};
    reaped_worker freed = {malloc(common.layout.worker_slots * 4), malloc(common.layout.worker_slots * 8), 0,
                           0};
    process workers[WORKERS], devices[DEVICES];
    uint32_t epoch = 0, device_deaths = 0, worker_deaths = 0;
    for (uint32_t w = 0; w < WORKERS; w++) {
        workers[w] = (process){w, ++epoch, requests / 20 + 7 * w + 1, 0};
        start(&workers[w], run_worker, worker_lane(&common, w));
    }
    for (uint32_t d = 0; d < DEVICES; d++) {
        devices[d] = (process){d, ++epoch, requests / 20 + 5 * d + 1, 0};
        start(&devices[d], run_device, table_device(&common, d));
    }
    for (uint32_t working = WORKERS; working;) {
        look_around(&common);
        for (uint32_t d = 0; d < DEVICES; d++) {
            if (pthread_tryjoin_np(devices[d].thread, NULL)) continue;
            table_reap_device(&common, devices[d].epoch, device_deaths % 2 == 0, &lost);
            CHECK(lost.requeued_count + lost.freed_count <= 2);
            __atomic_add_fetch(&geometry(&common)->scan_epoch, 1, __ATOMIC_RELEASE);
            device_deaths++;
            devices[d].epoch = ++epoch;
            devices[d].steps_to_live = device_deaths < 8 ? requests / 20 + 1 : UINT64_MAX;
            start(&devices[d], run_device, table_device(&common, d));
        }
        for (uint32_t w = 0; w < WORKERS; w++) {
            if (!workers[w].thread || pthread_tryjoin_np(workers[w].thread, NULL)) continue;
            table_reap_worker(&common, w, workers[w].epoch, &freed);
            workers[w].thread = 0;
            if (workers[w].steps_to_live) {
                working--;
                continue;
            }
            worker_deaths++;
            workers[w].epoch = ++epoch;
            workers[w].steps_to_live = worker_deaths < 6 ? requests / 20 + 3 : UINT64_MAX;
            start(&workers[w], run_worker, worker_lane(&common, w));
        }
        sched_yield();
        within_limit();
    }
    __atomic_store_n(&finished, 1, __ATOMIC_RELEASE);
    for (uint32_t d = 0; d < DEVICES; d++) {
        pthread_join(devices[d].thread, NULL);
        table_reap_device(&common, devices[d].epoch, 1, &lost);
    }
    for (uint64_t id = 0; id < requests; id++) CHECK(answered[id] == 1);
    CHECK(table_count(&common, SLOT_FREE) == common.layout.slots);
    printf("answered=%llu device_deaths=%u worker_deaths=%u withdrawn=%d stolen=%d orphans=%d\n",
           (unsigned long long)requests, device_deaths, worker_deaths, withdrawn, stolen, orphans);
    free(lost.requeued), free(lost.poisoned), free(lost.freed), free(freed.freed), free(freed.hashes),
        free(answered), free(taken_back);
    close_segment(&common);
    return 0;
}
