/* Time zones by their names, such as America/Bogota, daylight saving included; from libical and the system's tzdata. */
#ifndef TB_GAPS_ZONE_H
#define TB_GAPS_ZONE_H

#include "base/buf.h"
#include "base/err.h"

#define TB_ZONE_NAME 64

typedef struct tb_zone tb_zone; /* shared, never freed */

/* TB_EINVAL: there is no such zone. */
tb_rc tb_zone_find(const char *name, const tb_zone **ret_zone, tb_err *err);
/* Wall clock of an instant: seconds since 1970-01-01 00:00 of that clock. Minus utc_s: the zone's offset then. */
int64_t tb_zone_local(const tb_zone *zone, int64_t utc_s);
/* The instants at which the wall shows local_s, the earlier first; returns how many. None when a clock was put forward
 * over it: then the first is the instant that the clock of before would have shown so. Two when it was put back. */
int tb_zone_utc(const tb_zone *zone, int64_t local_s, int64_t ret_utc_s[2]);

#endif
