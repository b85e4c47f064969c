#ifndef TB_WORKERS_STORER_H
#define TB_WORKERS_STORER_H

#include "run/worker.h"

extern const tb_worker storer_worker;

#endif
