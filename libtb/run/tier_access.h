/* A worker that reads the tier: to rebuild a bank that was lost. */
#ifndef TB_RUN_TIER_ACCESS_H
#define TB_RUN_TIER_ACCESS_H

#include "run/worker.h"
#include "store/archive.h"

/* identity, repository: as its options name them, or NULL: those of the instance's directory. TB_EKEY, with a sentence:
 * there is no such directory either. Else what reading the key and opening the repository say. */
tb_rc tb_tier_access(const tb_worker_env *env, const char *identity, const char *repository, tb_archive **ret_archive,
                     tb_err *err);

#endif
