/* Reading of nodes in either memory format. */
#pragma once
#include "read_pixels.h"
#include "read_planes.h"

static void read(const reading *r, void *activated)
{
    read_job job = {r, activated};
    if (r->planes)
        share(r->workers, slots_of(r, r->channels), 0, read_planes_slot, &job);
    else
        share(r->workers, slots_of(r, r->batch * r->pixels), 0, read_pixels_slot, &job);
}

static int read_gradients(const reading *r, const void *gradient, void *const *by_node, float *by_scale, float *by_bias)
{
    read_gradients_job job = {r, gradient, by_node, by_scale, by_bias};
    return r->planes ? share(r->workers, slots_of(r, r->channels), 0, plane_gradients_slot, &job)
                     : gradients_by_pixels(job);
}
