/* A native thread that writes the time into a lane. It needs no GIL, so it tells a frozen or dead
 * process from one whose Python is merely busy. */
#ifndef KERNELS_HEARTBEAT_H
#define KERNELS_HEARTBEAT_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "segment.h"

typedef struct heartbeat {
    struct heartbeat *next;
    lane *lane;
    uint64_t interval_ns;
    pid_t process; /* a fork has the memory, not the thread */
    int stopping;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
} heartbeat;

static inline void *heartbeat_run(void *argument) {
    heartbeat *beat = argument;
    pthread_setname_np(pthread_self(), "heartbeat");
    pthread_mutex_lock(&beat->lock);
    while (!beat->stopping) {
        uint64_t now = monotonic_now(), until = now + beat->interval_ns;
        struct timespec deadline = {(time_t)(until / 1000000000ull), (long)(until % 1000000000ull)};
        SET(beat->lane->heartbeat_ns, now);
        pthread_cond_timedwait(&beat->stop, &beat->lock, &deadline);
    }
    pthread_mutex_unlock(&beat->lock);
    return NULL;
}

/* NULL and errno when no thread could be had. */
static inline heartbeat *heartbeat_start(lane *it, uint64_t interval_ns) {
    heartbeat *beat = calloc(1, sizeof *beat);
    pthread_condattr_t clock;
    pthread_attr_t attributes;
    sigset_t all, before;
    int error;
    if (!beat) return NULL;
    beat->lane = it;
    beat->interval_ns = interval_ns;
    beat->process = getpid();
    pthread_mutex_init(&beat->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&beat->stop, &clock);
    pthread_condattr_destroy(&clock);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    /* Signals belong to the main thread: Python's handlers and their wake-up fd are there. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&beat->thread, &attributes, heartbeat_run, beat);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) {
        pthread_cond_destroy(&beat->stop);
        pthread_mutex_destroy(&beat->lock);
        free(beat);
        errno = error;
        return NULL;
    }
    return beat;
}

/* Ends the thread before the lane is unmapped. In a fork there is nothing to join: the record is left alone.
 */
static inline void heartbeat_stop(heartbeat *beat) {
    if (beat->process != getpid()) return;
    pthread_mutex_lock(&beat->lock);
    beat->stopping = 1;
    pthread_cond_signal(&beat->stop);
    pthread_mutex_unlock(&beat->lock);
    pthread_join(beat->thread, NULL);
    pthread_cond_destroy(&beat->stop);
    pthread_mutex_destroy(&beat->lock);
    free(beat);
}

#endif
