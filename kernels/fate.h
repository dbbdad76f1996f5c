/* Fate: what the deaths of devices have taught about one request. Pure functions of one word.
 *
 * The word has one writer, the supervisor. It carries the generation it speaks
 * of and means nothing for any other: nobody has to clear it when a slot is
 * used again, and a late write cannot mark a new request.
 */
#ifndef KERNELS_FATE_H
#define KERNELS_FATE_H

#include <stdint.h>

enum slot_verdict { VERDICT_CLEAR, VERDICT_SUSPECT, VERDICT_POISON, VERDICT_SPENT };

#define ALONE_DEATHS_TO_POISON 2
#define ATTEMPTS_TO_SPENT 4

typedef struct {
    uint32_t attempts;                                      /* deaths of a device that had it, 8 bits */
    uint32_t alone_deaths;                                  /* of these, with nothing else in work, 4 bits */
    uint32_t verdict;                                       /* 4 bits */
    uint32_t prior_alone_deaths, prior_verdict, forgivable; /* before the last death */
} slot_fate;

static inline slot_fate fate_unpack(uint64_t raw, uint32_t generation) {
    slot_fate fate = {0, 0, 0, 0, 0, 0};
    if ((uint32_t)(raw >> 32) != generation) return fate;
    fate.attempts = raw & 0xFF;
    fate.alone_deaths = raw >> 8 & 0xF;
    fate.verdict = raw >> 12 & 0xF;
    fate.prior_alone_deaths = raw >> 16 & 0xF;
    fate.prior_verdict = raw >> 20 & 0xF;
    fate.forgivable = raw >> 24 & 1;
    return fate;
}

static inline uint64_t fate_pack(slot_fate fate, uint32_t generation) {
    return (uint64_t)generation << 32 | fate.forgivable << 24 | fate.prior_verdict << 20 |
           fate.prior_alone_deaths << 16 | fate.verdict << 12 | fate.alone_deaths << 8 | fate.attempts;
}

/* One more death while it was in work; `alone`: with nothing else. */
static inline slot_fate fate_after_death(slot_fate fate, int alone) {
    fate.prior_alone_deaths = fate.alone_deaths;
    fate.prior_verdict = fate.verdict;
    fate.forgivable = 1;
    if (fate.attempts < 0xFF) fate.attempts++;
    if (alone && fate.alone_deaths < 0xF) fate.alone_deaths++;
    /* After any death the request runs alone: nobody else may share its next one. */
    fate.verdict = VERDICT_SUSPECT;
    if (fate.attempts >= ATTEMPTS_TO_SPENT) fate.verdict = VERDICT_SPENT;
    if (fate.alone_deaths >= ALONE_DEATHS_TO_POISON) fate.verdict = VERDICT_POISON;
    return fate;
}

/* Takes the last death back, once; 0 when there is none to take back. */
static inline int fate_forgive(slot_fate *fate) {
    if (!fate->forgivable) return 0;
    fate->attempts--;
    fate->alone_deaths = fate->prior_alone_deaths;
    fate->verdict = fate->prior_verdict;
    fate->forgivable = 0;
    return 1;
}

#endif
