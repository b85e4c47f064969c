/* Kinds of frames and groups of workers, from proto/kinds.def. */
#ifndef TB_WIRE_KINDS_H
#define TB_WIRE_KINDS_H

#include <stdint.h>

enum tb_kind {
#define TB_KIND(number, name, keep, groups, word) TB_KIND_##name = (number),
#include "kinds.def"
};

typedef enum tb_group {
	TB_GROUP_NONE = 0,
#define TB_GROUP(number, name, lease, word) TB_GROUP_##name = (number),
#include "kinds.def"
	TB_GROUP_COUNT,
} tb_group;

#define TB_GROUP_BIT(name) (1u << TB_GROUP_##name)

enum tb_keep { TB_KEEP_DURABLE, TB_KEEP_VOLATILE, TB_KEEP_LATEST, TB_KEEP_PASS };
enum tb_lease_of { TB_LEASE_FRAME, TB_LEASE_STREAM, TB_LEASE_GROUP };

typedef struct tb_kind_row {
	uint16_t number;
	const char *name; /* "events" */
	enum tb_keep keep;
	unsigned groups; /* bits 1 << tb_group */
} tb_kind_row;

typedef struct tb_group_row {
	tb_group number;
	const char *name; /* "collector" */
	enum tb_lease_of lease;
} tb_group_row;

const tb_kind_row *tb_kind_find(unsigned number);  /* NULL: no such kind */
const tb_group_row *tb_group_find(unsigned number); /* NULL: no such group */

#endif
