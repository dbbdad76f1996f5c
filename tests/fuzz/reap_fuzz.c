/* Any sequence of takes, claims, answers and deaths on a real segment: after each step every slot is where a model of
 * a few lines says, so nothing is lost, doubled or leaked; in the end, with everybody dead, all are free.
 */
#include "../native/harness.h"
#include "need.h"

enum { WORKERS = 2, DEVICES = 2, SMALL = 3, BIG = 1, OWN = SMALL + BIG, SLOTS = WORKERS * OWN };

static slot_table table;
static uint32_t epochs, worker_epoch[WORKERS], device_epoch[DEVICES];
static struct {
    uint32_t state, generation, epoch;
    int orphan;
} model[SLOTS];

static uint32_t next_epoch(void) { return epochs = epochs % (MAX_EPOCH - 1) + 1; }

static void free_slot(int slot) {
    model[slot].state = SLOT_FREE;
    model[slot].generation++;
    model[slot].orphan = 0;
}

static void start_worker(int worker) {
    worker_epoch[worker] = next_epoch();
    lane_incarnate(worker_lane(&table, (uint32_t)worker), 1, worker_epoch[worker]);
}

static void start_device(int device) {
    device_epoch[device] = next_epoch();
    lane_incarnate(table_device(&table, (uint32_t)device), 1, device_epoch[device]);
}

static void kill_worker(int worker) {
    uint32_t freed[OWN], gone = 0;
    uint64_t hashes[OWN];
    reaped_worker out = {freed, hashes, 0, 0};
    table_reap_worker(&table, (uint32_t)worker, worker_epoch[worker], &out);
    for (int slot = worker * OWN; slot < (worker + 1) * OWN; slot++)
        if (model[slot].state == SLOT_CLAIMED) {
            model[slot].orphan = 1;
        } else if (model[slot].state != SLOT_FREE) {
            free_slot(slot);
            gone++;
        }
    need(out.freed_count == gone && out.hash_count <= gone, "as many are freed as it held");
    start_worker(worker);
}

static void kill_device(int device, int blame) {
    uint32_t requeued[SLOTS], poisoned[SLOTS], freed[SLOTS], back = 0, gone = 0;
    reaped_device out = {requeued, poisoned, freed, 0, 0, 0};
    table_reap_device(&table, device_epoch[device], blame, &out);
    for (int slot = 0; slot < SLOTS; slot++)
        if (model[slot].state == SLOT_CLAIMED && model[slot].epoch == device_epoch[device]) {
            gone += (uint32_t)model[slot].orphan;
            back += !model[slot].orphan;
            if (model[slot].orphan)
                free_slot(slot);
            else
                model[slot].state = SLOT_READY;
        }
    need(out.requeued_count == back && out.freed_count == gone, "as many come back as it had");
    need(out.poisoned_count <= back && (blame || !out.poisoned_count), "who is not blamed learns nothing");
    start_device(device);
}

static void take(int worker, unsigned which) {
    static const uint64_t sizes[] = {1, SMALL_BYTES, SMALL_BYTES + 1, BIG_BYTES, BIG_BYTES + 1};
    uint64_t bytes = sizes[which % 5];
    int64_t slot = table_take(&table, (uint32_t)worker, bytes), right = -1;
    for (int i = (worker + 1) * OWN - 1; i >= worker * OWN; i--)
        if (model[i].state == SLOT_FREE && table.capacities[i] >= bytes)
            right = i;
    need(slot == right, "the smallest free slot that is large enough");
    if (slot >= 0) {
        slot_set_hash(table_slot(&table, (uint32_t)slot), model[slot].generation, 1 + which);
        model[slot].state = SLOT_WRITING;
    }
}

static void put(int slot, unsigned device) {
    slot_request request = {.device = (uint16_t)(device % DEVICES), .cost_us = 7, .deadline_ns = 1};
    uint32_t generation = 0;
    int done = slot_publish(table_slot(&table, (uint32_t)slot), &request, &generation);
    need(done == (model[slot].state == SLOT_WRITING), "only what is written is published");
    if (done) {
        need(generation == model[slot].generation, "in its generation");
        model[slot].state = SLOT_READY;
    }
}

static void withdraw(int slot, uint32_t generation) {
    int own = model[slot].state == SLOT_READY && generation == model[slot].generation;
    need(table_withdraw(&table, (uint32_t)slot, generation) == own, "only what nobody has is taken back");
    if (own) {
        free_slot(slot);
        if (table.capacities[slot] > KEEP_BYTES)
            free_slot(slot); /* it was taken in hand once more, to give its pages back */
    }
}

static void claim(int slot, uint32_t generation, int device) {
    int free = model[slot].state == SLOT_READY && generation == model[slot].generation;
    need(slot_claim(table_slot(&table, (uint32_t)slot), generation, device_epoch[device]) == free, "one has it");
    if (free) {
        model[slot].state = SLOT_CLAIMED;
        model[slot].epoch = device_epoch[device];
    }
}

static void finish(int slot, uint32_t generation, int device) {
    int own = model[slot].state == SLOT_CLAIMED && model[slot].epoch == device_epoch[device] &&
              generation == model[slot].generation;
    enum slot_finished right = !own ? FINISH_LOST : model[slot].orphan ? FINISH_ORPHAN : FINISH_DONE;
    need(table_finish(&table, (uint32_t)slot, generation, device_epoch[device], 8) == right, "how it ends");
    if (right == FINISH_ORPHAN)
        free_slot(slot);
    if (right == FINISH_DONE)
        model[slot].state = SLOT_DONE;
}

static void release(int slot, uint32_t generation) {
    int own = generation == model[slot].generation &&
              (model[slot].state == SLOT_DONE || model[slot].state == SLOT_WRITING);
    need(table_release(&table, (uint32_t)slot, generation) == own, "only the owner gives back");
    if (own)
        free_slot(slot);
}

static void compare(void) {
    uint32_t free = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        uint64_t word = GET_ACQUIRE(table_slot(&table, (uint32_t)slot)->word);
        need(word_state(word) == model[slot].state && word_generation(word) == model[slot].generation,
             "the slot is where the model says");
        need(word_state(word) != SLOT_CLAIMED || word_epoch(word) == model[slot].epoch, "and who has it");
        free += model[slot].state == SLOT_FREE;
    }
    need(table_count(&table, SLOT_FREE) == free, "the count of free slots");
}

static void begin(void) {
    if (!table.base)
        table = open_segment(make_segment(WORKERS, DEVICES, SMALL, BIG));
    need(table_count(&table, SLOT_FREE) == SLOTS, "all are free");
    for (int slot = 0; slot < SLOTS; slot++)
        model[slot].generation = word_generation(GET(table_slot(&table, (uint32_t)slot)->word));
    for (int i = 0; i < 2; i++) {
        start_worker(i);
        start_device(i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    begin();
    for (size_t i = 0; i + 2 < length; i += 3) {
        int slot = data[i + 1] % SLOTS, which = data[i + 2] & 1;
        uint32_t generation = model[slot].generation - (data[i + 2] >> 6 == 3); /* now and then an old hint */
        switch (data[i] % 9) {
        case 0: take(which, data[i + 1]); break;
        case 1: put(slot, data[i + 2]); break;
        case 2: withdraw(slot, generation); break;
        case 3: claim(slot, generation, which); break;
        case 4: finish(slot, generation, which); break;
        case 5: release(slot, generation); break;
        case 6: kill_worker(which); break;
        case 7: kill_device(which, data[i + 2] & 2); break;
        default: slot_forgive(table_slot(&table, (uint32_t)slot)); break;
        }
        compare();
    }
    for (int i = 0; i < 2; i++) {
        kill_worker(i);
        kill_device(i, 0);
    }
    compare();
    need(table_count(&table, SLOT_FREE) == SLOTS, "nothing has leaked");
    return 0;
}
