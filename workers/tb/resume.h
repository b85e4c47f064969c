/* tb restore --resume: makes a restored state the stream's present one, by publishing a reset.
 *
 * It is published from an outbox of its own, DIR/outbox/STREAM.resume, which is gone afterwards: what a killed run left
 * undelivered in it is never published by anybody. The engine's outbox is emptied first and kept locked meanwhile. */
#ifndef WORKERS_TB_RESUME_H
#define WORKERS_TB_RESUME_H

#include "workers/tb/publish.h"

typedef struct tb_resume {
	const tb_call *call; /* these three are the caller's to set, everything else is zero at first */
	const char *dir, *stream;

	struct publish_options options;
	tb_publishing run; /* the engine's outbox, and the right to publish */
	int engine_fd;     /* its lock; 0: not held */
	tb_publisher *publisher;
	tb_buf outbox; /* path of our own */
	tb_arena *arena; /* holds what waits to be packed */
	tb_delta *items;
	size_t count, size; /* of canonical bytes */
	uint64_t entries, begin, commit;
	tb_progress progress;
} tb_resume;

/* TB_EBUSY: the engine runs. Leaves everything as it is. */
tb_rc tb_resume_check(const tb_resume *resume, tb_err *err);
/* One entry of the state, in any order; the first call begins. A tb_entry_fn. */
tb_rc tb_resume_entry(void *resume, const void *key, size_t key_size, const void *value, size_t value_size,
                      tb_err *err);
/* After all entries: the state is replaced when this returns TB_OK, with begin and commit set. */
tb_rc tb_resume_commit(tb_resume *resume, tb_err *err);
void tb_resume_drop(tb_resume *resume);

#endif
