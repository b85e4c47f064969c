#ifndef TB_WORKERS_SEALER_H
#define TB_WORKERS_SEALER_H

#include "run/worker.h"

extern const tb_worker sealer_worker;

#endif
