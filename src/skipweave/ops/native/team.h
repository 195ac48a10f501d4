/* Sharing work among threads. */
#pragma once
#include "base.h"

typedef struct {
    int (*work)(void *job, int64_t slot, int64_t slots);
    void *job;
    int64_t slots, next;
    int failed;
} team;

static void team_body(void *data)
{
    team *t = data;
    for (int64_t slot; (slot = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->slots;) {
        const int failed = t->work(t->job, slot, t->slots);
        if (failed) __atomic_store_n(&t->failed, failed, __ATOMIC_RELAXED);
    }
    streamed();
}

/* Call work(job, slot, slots) once for each slot. Which slot does what is fixed, so results do not depend on timing. */
static int share(workers w, int64_t slots, int (*work)(void *, int64_t, int64_t), void *job)
{
    team t = {work, job, slots, 0, DONE};
    if (slots > 1 && w.parallel)
        w.parallel(team_body, &t, (unsigned)slots, 0);
    else
        team_body(&t);
    return t.failed;
}
