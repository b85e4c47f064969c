#include "wire/kinds.h"

#include <stddef.h>

#define KIND_COUNT 64

static const tb_kind_row kinds[KIND_COUNT] = {
#define TB_KIND(number, name, keep, groups, word) [number] = { number, word, TB_KEEP_##keep, groups },
#include "kinds.def"
};

static const tb_group_row groups[TB_GROUP_COUNT] = {
#define TB_GROUP(number, name, lease, word) [number] = { TB_GROUP_##name, word, TB_LEASE_##lease },
#include "kinds.def"
};

const tb_kind_row *tb_kind_find(unsigned number)
{
	return number < KIND_COUNT && kinds[number].name != NULL ? &kinds[number] : NULL;
}

const tb_group_row *tb_group_find(unsigned number)
{
	return number < TB_GROUP_COUNT && groups[number].name != NULL ? &groups[number] : NULL;
}
