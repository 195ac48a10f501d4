/* Threads, and the scratch memory of a call. */
#pragma once
#include "base.h"

#define LINE 128 /* bytes fetched together by caches; slots do not share them */

/* Bump allocator for the scratch memory of a slot. Without memory it only counts bytes. */
typedef struct {
    char *memory;
    size_t size;
} room;

static void *take(room *r, int64_t count, size_t size)
{
    void *piece = r->memory ? r->memory + r->size : NULL;
    r->size += ((size_t)count * size + LINE - 1) / LINE * LINE;
    return piece;
}

typedef void work_function(void *job, room memory, int64_t slot, int64_t slots);

typedef struct {
    work_function *work;
    void *job;
    char *memory;
    size_t size; /* bytes per slot */
    int64_t slots, next;
} team;

static void team_body(void *data)
{
    team *t = data;
    for (int64_t slot; (slot = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->slots;)
        t->work(t->job, (room){t->memory ? t->memory + (size_t)slot * t->size : NULL, 0}, slot, t->slots);
    streamed();
}

/* Call work(job, memory, slot, slots) once per slot, with scratch memory that is valid during the call. The work of
 * each slot is fixed, so results do not depend on timing. */
static int share(workers w, int64_t slots, size_t size, work_function *work, void *job)
{
    void *memory = NULL;
    if (size && posix_memalign(&memory, LINE, (size_t)slots * size)) return NO_MEMORY;
    team t = {work, job, memory, size, slots, 0};
    if (slots > 1 && w.parallel)
        w.parallel(team_body, &t, (unsigned)slots, 0);
    else
        team_body(&t);
    free(memory);
    return DONE;
}
