#ifndef TB_WORKERS_SEALER_H
#define TB_WORKERS_SEALER_H

#include "frames.pb-c.h"
#include "run/worker.h"

extern const tb_worker sealer_worker;

/* A Chunk, whose content stays where it is, in the body: unpacked it would be there twice. The rest is in the arena. NULL:
 * it isn't a chunk. */
Tb__Chunk *sealer_read_chunk(tb_span body, tb_arena *arena);

#endif
