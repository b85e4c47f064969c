#include "broker/leases.h"

#include <stdlib.h>

static void opens_grow(tb_opens *opens)
{
	if (opens->end < opens->capacity)
		return;
	opens->capacity = opens->capacity ? opens->capacity * 2 : 16;
	opens->frames = tb_realloc(opens->frames, opens->capacity * sizeof(*opens->frames));
}

tb_open *tb_opens_add(tb_opens *opens, uint64_t id, unsigned kind, uint64_t stream)
{
	opens_grow(opens);
	tb_open *open = &opens->frames[opens->end++];
	*open = (tb_open){ .id = id, .kind = (uint16_t)kind, .stream = stream };
	opens->count++;
	return open;
}

static size_t lower_bound(const tb_opens *opens, uint64_t id)
{
	size_t low = opens->head, high = opens->end;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (opens->frames[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static tb_open *first_open(const tb_opens *opens, size_t at)
{
	for (; at < opens->end; at++)
		if (!opens->frames[at].done)
			return &opens->frames[at];
	return NULL;
}

tb_open *tb_opens_find(const tb_opens *opens, uint64_t id)
{
	size_t at = lower_bound(opens, id);
	if (at == opens->end || opens->frames[at].id != id || opens->frames[at].done)
		return NULL;
	return &opens->frames[at];
}

tb_open *tb_opens_from(const tb_opens *opens, uint64_t id)
{
	return first_open(opens, lower_bound(opens, id));
}

tb_open *tb_opens_next(const tb_opens *opens, const tb_open *open)
{
	return first_open(opens, open != NULL ? (size_t)(open - opens->frames) + 1 : opens->head);
}

/* Once most of the array is done, so that each frame is moved a bounded number of times. */
static void opens_compact(tb_opens *opens)
{
	while (opens->head < opens->end && opens->frames[opens->head].done)
		opens->head++;
	if (opens->end < 64 || opens->count > opens->end / 4)
		return;
	size_t kept = 0;
	for (size_t i = opens->head; i < opens->end; i++)
		if (!opens->frames[i].done)
			opens->frames[kept++] = opens->frames[i];
	opens->head = 0;
	opens->end = kept;
}

void tb_opens_remove(tb_opens *opens, tb_open *open)
{
	free((void *)(uintptr_t)open->bytes.data);
	open->bytes = (tb_span){ 0 };
	open->done = 1;
	opens->count--;
	opens_compact(opens);
}

void tb_opens_drop(tb_opens *opens)
{
	for (size_t i = opens->head; i < opens->end; i++)
		free((void *)(uintptr_t)opens->frames[i].bytes.data);
	free(opens->frames);
	*opens = (tb_opens){ 0 };
}

tb_member *tb_member_find(const tb_group_state *group, const uint8_t *id)
{
	for (size_t i = 0; i < group->member_count; i++)
		if (tb_member_same(group->members[i].id, id))
			return &group->members[i];
	return NULL;
}

tb_member *tb_member_add(tb_group_state *group, const uint8_t *id)
{
	group->members = tb_realloc(group->members, (group->member_count + 1) * sizeof(*group->members));
	tb_member *member = &group->members[group->member_count++];
	*member = (tb_member){ 0 };
	memcpy(member->id, id, TB_MEMBER_ID);
	return member;
}

void tb_member_remove(tb_group_state *group, size_t index)
{
	tb_buf_drop(&group->members[index].health);
	group->members[index] = group->members[--group->member_count];
}

static int live(const tb_member *member, uint64_t now_ns, uint64_t lease_ns)
{
	return now_ns - member->seen_ns < lease_ns;
}

int tb_member_live(const tb_group_state *group, const uint8_t *id, uint64_t now_ns, uint64_t lease_ns)
{
	const tb_member *member = tb_member_find(group, id);
	return member != NULL && live(member, now_ns, lease_ns);
}

size_t tb_members_live(const tb_group_state *group, uint64_t now_ns, uint64_t lease_ns)
{
	size_t count = 0;
	for (size_t i = 0; i < group->member_count; i++)
		count += (size_t)live(&group->members[i], now_ns, lease_ns);
	return count;
}

void tb_group_drop(tb_group_state *group)
{
	while (group->member_count > 0)
		tb_member_remove(group, 0);
	free(group->members);
	tb_opens_drop(&group->open);
	tb_opens_drop(&group->loose);
}
