/* How the processes of `tb up` end again and again, told to `tb status` by a file: DIR/run/ends.json, one object with
 * an array of those whose last life was short. A process that doesn't come up, or dies in its first turns, tells nobody
 * else why. */
#ifndef WORKERS_TB_ENDS_H
#define WORKERS_TB_ENDS_H

#include "workers/tb/children.h"

#include <jansson.h>

/* Rewrites the file. That it can't (no room) is no reason for anybody to end: then status knows less. */
void ends_write(const children *all, const char *dir, uint64_t real_ns, uint64_t mono_ns);

/* Appends a sentence for each process that ended twice or more in a row and hasn't lived for a while since. */
void ends_read(const char *dir, uint64_t real_ns, json_t *degraded);
/* The same from the file's text. What it doesn't understand says nothing. */
void ends_parse(tb_span text, uint64_t real_ns, json_t *degraded);

#endif
