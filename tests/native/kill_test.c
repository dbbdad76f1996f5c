/* Kills a real process at a chosen step of the protocol and looks whether anything is lost.
 *
 *     kill_test worker|device STEP NTH alone|both-worker-first|both-device-first|orphan
 *
 * One worker process, two device processes, the parent is the supervisor. The named
 * process (device: number 0) stops when it comes to STOP_POINT(STEP) for the NTH time.
 * alone: it is killed there. both: the other one is killed in the same moment, wherever
 * it is, and they are reaped in the order named. orphan: only the *other* one is killed
 * and replaced, then the stopped one goes on.
 * The supervisor reaps, bumps the scan epoch, wakes everybody and starts the next
 * incarnation. The clients ask again what a dead worker had not answered. In the end
 * every request was answered exactly once, every slot is free, nobody slept through
 * its work.
 *
 * Exit status: 0 passed, 1 failed, 3 passed but the step was never reached.
 */
#include "harness.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define DEVICES 2
#define REQUESTS 24
#define IN_FLIGHT 3
#ifndef LIMIT_MS
#define LIMIT_MS 20000
#endif

static struct { /* shared with the children, outlives them all */
    int answers[REQUESTS], taken_back[REQUESTS], overslept, finished;
} * ledger;

static int fd, worker_event, device_events[DEVICES], stopped_pipe[2], resume_pipe[2];
static int stop_step, stop_nth;

void stop_point(int step) {
    if (step != stop_step || --stop_nth) return;
    char mark;
    CHECK(write(stopped_pipe[1], "x", 1) == 1);
    CHECK(read(resume_pipe[0], &mark, 1) == 1);
}

static void ring_bell(int event) { CHECK(eventfd_write(event, 1) == 0); }

/* Blocks after the caller has looked for work behind the flag. A time-out is a lost wake-up. */
static void sleep_on(int event) {
    struct pollfd waiting = {event, POLLIN, 0};
    eventfd_t ignored;
    if (poll(&waiting, 1, LIMIT_MS / 2) == 0) __atomic_add_fetch(&ledger->overslept, 1, __ATOMIC_RELAXED);
    eventfd_read(event, &ignored);
}

/* ---- worker ---- */

typedef struct {
    int id; /* -1: none */
    uint32_t slot, generation;
} flight;

static int land(const slot_table *view, flight *flights, uint32_t slot, uint32_t generation) {
    for (int i = 0; i < IN_FLIGHT; i++) {
        flight *it = &flights[i];
        if (it->id < 0 || it->slot != slot || it->generation != generation) continue;
        if (slot_result(table_slot(view, slot), generation, view->capacities[slot]) < 0) return 0;
        CHECK(answer_is_right(view, slot, (uint64_t)it->id));
        __atomic_add_fetch(&ledger->answers[it->id], 1, __ATOMIC_RELAXED);
        it->id = -1;
        CHECK(table_release(view, slot, generation));
        return 1;
    }
    return 0;
}

static int drain(const slot_table *view, flight *flights, ring_end *rings, uint64_t *scanned) {
    uint64_t found[MAX_WORKER_SLOTS], now = GET_ACQUIRE(geometry(view)->scan_epoch);
    uint32_t slot, generation, count = 0;
    int landed = 0;
    for (int d = 0; d < DEVICES; d++)
        while (ring_pop(&rings[d], &slot, &generation)) landed += land(view, flights, slot, generation);
#ifndef PLANTED_NO_SCAN
    if (*scanned != now) count = table_list(view, 0, view->layout.worker_slots, SLOT_DONE, 1, found);
#endif
    for (uint32_t i = 0; i < count; i++) landed += land(view, flights, (uint32_t)found[i], found[i] >> 32);
    *scanned = now;
    return landed;
}

static int launch(const slot_table *view, flight *it, int id, ring_end *rings) {
    int device = id % DEVICES, big = id % 5 == 4;
    int64_t slot = table_take(view, 0, big ? SMALL_BYTES + 1 : 8 * (WORDS + 1));
    if (slot < 0) return 0;
    slot_set_hash(table_slot(view, slot), word_generation(GET(table_slot(view, slot)->word)), 100 + id);
    write_payload(view, slot, id);
    uint32_t generation = publish(view, slot, id, device);
    if (big && !ledger->taken_back[id] && table_withdraw(view, slot, generation)) {
        ledger->taken_back[id] = 1;
        return 0;
    }
    ring_push(&rings[device], slot, generation);
    if (lane_sleeping(table_device(view, device))) ring_bell(device_events[device]);
    *it = (flight){id, slot, generation};
    return 1;
}

static void run_worker(uint32_t epoch) {
    slot_table view = open_segment(fd);
    ring_end out[DEVICES], in[DEVICES];
    flight flights[IN_FLIGHT] = {{-1, 0, 0}, {-1, 0, 0}, {-1, 0, 0}};
    uint64_t scanned = UINT64_MAX;
    lane *mine = worker_lane(&view, 0);
    while (GET_ACQUIRE(mine->epoch) != epoch) sched_yield();
    for (int d = 0; d < DEVICES; d++) {
        out[d] = attach_ring(&view, 0, d, 0);
        in[d] = attach_ring(&view, 0, d, 1);
    }
    for (int next = 0;;) {
        int flying = 0, refused = 0;
        for (int i = 0; i < IN_FLIGHT; i++) {
            while (next < REQUESTS && GET(ledger->answers[next])) next++;
            if (flights[i].id < 0 && next < REQUESTS) {
                if (launch(&view, &flights[i], next, out))
                    next++;
                else
                    refused = 1;
            }
            flying += flights[i].id >= 0;
        }
        if (!flying && next == REQUESTS) return;
        if (drain(&view, flights, in, &scanned) || refused) continue;
        lane_prepare_sleep(mine);
        if (!drain(&view, flights, in, &scanned)) sleep_on(worker_event);
        SET(mine->sleeping, 0);
    }
}

/* ---- device ---- */

static int work(const slot_table *view, uint32_t epoch, ring_end *in, ring_end *out) {
    uint64_t found[MAX_WORKER_SLOTS];
    uint32_t slots[2], generations[2], claimed = 0;
    while (claimed < 2 && ring_pop(in, &slots[claimed], &generations[claimed]))
        claimed += slot_claim(table_slot(view, slots[claimed]), generations[claimed], epoch);
    uint32_t count = claimed ? 0 : table_list(view, 0, view->layout.slots, SLOT_READY, 0, found);
    for (uint32_t i = 0; i < count && claimed < 2; i++) {
        slots[claimed] = (uint32_t)found[i];
        generations[claimed] = (uint32_t)(found[i] >> 32);
        claimed += slot_claim(table_slot(view, slots[claimed]), generations[claimed], epoch);
    }
    for (uint32_t i = 0; i < claimed; i++) write_answer(view, slots[i]);
    for (uint32_t i = 0; i < claimed; i++) {
#ifdef PLANTED_BLIND_FINISH
        slot_swap(table_slot(view, slots[i]), word_make(SLOT_CLAIMED, epoch, generations[i]),
                  word_make(SLOT_DONE, epoch, generations[i]));
        enum slot_finished end = FINISH_DONE;
#else
        enum slot_finished end = table_finish(view, slots[i], generations[i], epoch, 8);
#endif
        CHECK(end != FINISH_LOST);
        if (end == FINISH_ORPHAN) continue;
        ring_push(out, slots[i], generations[i]);
        if (lane_sleeping(worker_lane(view, 0))) ring_bell(worker_event);
    }
    return (int)claimed;
}

static void run_device(uint32_t index, uint32_t epoch) {
    slot_table view = open_segment(fd);
    lane *mine = table_device(&view, index);
    while (GET_ACQUIRE(mine->epoch) != epoch) sched_yield();
    ring_end in = attach_ring(&view, 0, index, 0), out = attach_ring(&view, 0, index, 1);
    for (;;) {
        if (work(&view, epoch, &in, &out)) continue;
        if (GET_ACQUIRE(ledger->finished)) return;
        lane_prepare_sleep(mine);
        if (!work(&view, epoch, &in, &out) && !GET_ACQUIRE(ledger->finished)) sleep_on(device_events[index]);
        SET(mine->sleeping, 0);
    }
}

/* ---- supervisor ---- */

static slot_table table;
static uint32_t epochs;
static struct child {
    pid_t pid;
    uint32_t epoch;
} children[1 + DEVICES]; /* the worker, then the devices */

static void start(int which, int step, int nth) {
    struct child *it = &children[which];
    it->epoch = ++epochs;
    pid_t parent = getpid();
    it->pid = fork();
    CHECK(it->pid >= 0);
    if (it->pid) {
        lane_incarnate(which ? table_device(&table, which - 1) : worker_lane(&table, 0), it->pid, it->epoch);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    stop_step = step;
    stop_nth = nth;
    if (which)
        run_device(which - 1, it->epoch);
    else
        run_worker(it->epoch);
    _exit(0);
}

static void slay(int which) {
    int status;
    CHECK(kill(children[which].pid, SIGKILL) == 0);
    CHECK(waitpid(children[which].pid, &status, 0) == children[which].pid);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0); /* it may have ended by itself just before */
}

static void reap(int which) {
    uint32_t slots[3][64], held = 0;
    uint64_t hashes[64];
    uint32_t epoch = children[which].epoch;
    if (!which) {
        reaped_worker out = {slots[0], hashes, 0, 0};
        table_reap_worker(&table, 0, epoch, &out);
        for (uint32_t i = 0; i < out.hash_count; i++) CHECK(hashes[i] >= 100 && hashes[i] < 100 + REQUESTS);
        for (uint32_t slot = 0; slot < table.layout.slots; slot++) {
            uint32_t state = word_state(GET(table_slot(&table, slot)->word));
            CHECK(state == SLOT_FREE || state == SLOT_CLAIMED);
        }
        return;
    }
    for (uint32_t slot = 0; slot < table.layout.slots; slot++) {
        uint64_t word = GET(table_slot(&table, slot)->word);
        held += word_state(word) == SLOT_CLAIMED && word_epoch(word) == epoch;
    }
    reaped_device out = {slots[0], slots[1], slots[2], 0, 0, 0};
    table_reap_device(&table, epoch, 1, &out);
    CHECK(out.requeued_count + out.freed_count == held && out.poisoned_count == 0);
    for (uint32_t i = 0; i < out.requeued_count; i++) {
        slot_header copy;
        uint32_t generation = word_generation(slot_copy(table_slot(&table, slots[0][i]), &copy));
        slot_fate fate = fate_unpack(copy.fate, generation);
        if (fate.attempts == 0) continue; /* a living device finished it, and it was used again */
        CHECK(fate.verdict == VERDICT_SUSPECT && fate.alone_deaths == (held == 1));
    }
}

static void ring_all_bells(void) {
    ring_bell(worker_event);
    for (int d = 0; d < DEVICES; d++) ring_bell(device_events[d]);
}

static int exited(int which) {
    siginfo_t info = {0};
    CHECK(waitid(P_PID, children[which].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
    return info.si_pid != 0;
}

static void join(int which) {
    int status;
    CHECK(waitpid(children[which].pid, &status, 0) == children[which].pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Has the target come to its step? Waits a millisecond for it. */
static int stopped(void) {
    struct pollfd waiting = {stopped_pipe[0], POLLIN, 0};
    char mark;
    return poll(&waiting, 1, 1) == 1 && read(stopped_pipe[0], &mark, 1) == 1;
}

enum mode { ALONE, BOTH_WORKER_FIRST, BOTH_DEVICE_FIRST, ORPHAN };
static const char *const modes[] = {"alone", "both-worker-first", "both-device-first", "orphan"};

/* Kills, reaps, starts anew. */
static void recover(int target, enum mode mode) {
    int other = !target;
    int order[2] = {mode == ORPHAN ? other : target, other}, killed = 1;
    if (mode == BOTH_WORKER_FIRST || mode == BOTH_DEVICE_FIRST) {
        order[0] = mode == BOTH_DEVICE_FIRST;
        order[1] = !order[0];
        killed = 2;
    }
    for (int i = 0; i < killed; i++) slay(order[i]);
    for (int i = 0; i < killed; i++) reap(order[i]);
    __atomic_add_fetch(&geometry(&table)->scan_epoch, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < killed; i++) start(order[i], -1, 0);
    ring_all_bells();
    if (mode == ORPHAN) CHECK(write(resume_pipe[1], "x", 1) == 1);
}

int main(int count, char **arguments) {
    CHECK(count == 5);
    int target = !strcmp(arguments[1], "device"), step = atoi(arguments[2]), nth = atoi(arguments[3]);
    int mode = 0, reached = 0;
    while (mode < ORPHAN && strcmp(arguments[4], modes[mode])) mode++;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(ledger != MAP_FAILED && pipe(stopped_pipe) == 0 && pipe(resume_pipe) == 0);
    fd = make_segment(1, DEVICES, 2, 1);
    table = open_segment(fd);
    worker_event = eventfd(0, EFD_NONBLOCK);
    for (int d = 0; d < DEVICES; d++) device_events[d] = eventfd(0, EFD_NONBLOCK);
    for (int which = 0; which <= DEVICES; which++) start(which, which == target ? step : -1, nth);
    uint64_t began = monotonic_now();
    while (!exited(0)) {
        CHECK(monotonic_now() - began < LIMIT_MS * 1000000ull);
        if (!stopped()) continue;
        reached = 1;
        recover(target, mode);
    }
    join(0);
    reap(0);
    __atomic_store_n(&ledger->finished, 1, __ATOMIC_RELEASE);
    ring_all_bells();
    for (int which = 1; which <= DEVICES; which++) {
        int slain = 0;
        while (!slain && !exited(which)) {
            CHECK(monotonic_now() - began < LIMIT_MS * 1000000ull);
            if (!stopped() || which != target) continue;
            reached = slain = 1; /* it came to its step after the last answer */
            slay(which);
            reap(which);
        }
        if (!slain) join(which);
    }
    for (int id = 0; id < REQUESTS; id++) CHECK(ledger->answers[id] == 1);
    CHECK(table_count(&table, SLOT_FREE) == table.layout.slots);
    CHECK(ledger->overslept == 0);
    close_segment(&table);
    return reached ? 0 : 3;
}
