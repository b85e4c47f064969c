/* Groups of workers: their members, and the frames that are open for them (handed out or not, but not finished). */
#ifndef TB_BROKER_LEASES_H
#define TB_BROKER_LEASES_H

#include "base/buf.h"
#include "wire/kinds.h"

#define TB_MEMBER_ID 16
#define TB_MEMBERS_MAX 1024u
/* So many open frames of each group still fit into one CHECKPOINT frame. */
#define TB_OPEN_MAX (1u << 18)
#define TB_VOLATILE_MAX 16384u
#define TB_VOLATILE_ID (UINT64_C(1) << 63)

typedef struct tb_open {
	uint64_t id;         /* offset in the journal, or TB_VOLATILE_ID and a counter */
	uint64_t stream;
	uint64_t generation; /* under which it was handed out last */
	uint64_t turn;       /* of the answer that bore it last */
	uint64_t since_ns;   /* when that was; monotonic */
	uint64_t key;        /* which piece of a plan a chunk is */
	uint8_t member[TB_MEMBER_ID];
	uint32_t attempts;
	uint16_t kind;
	uint8_t leased;      /* to member: groups that lease frames */
	uint8_t done;
	tb_span bytes;       /* the frame itself, when it is volatile; owned */
} tb_open;

/* In order of ids, which are only ever added at the end. Pointers are valid until the next add or remove. */
typedef struct tb_opens {
	tb_open *frames;
	size_t head, end, capacity; /* frames[head..end), with done ones in between */
	size_t count;               /* not done */
} tb_opens;

tb_open *tb_opens_add(tb_opens *opens, uint64_t id, unsigned kind, uint64_t stream);
tb_open *tb_opens_find(const tb_opens *opens, uint64_t id); /* NULL: not open */
tb_open *tb_opens_from(const tb_opens *opens, uint64_t id); /* the first with this id or a higher one; NULL */
tb_open *tb_opens_next(const tb_opens *opens, const tb_open *open); /* NULL: the first, and at the end */
void tb_opens_remove(tb_opens *opens, tb_open *open);
void tb_opens_drop(tb_opens *opens);

typedef struct tb_member {
	uint8_t id[TB_MEMBER_ID];
	uint64_t seen_ns; /* monotonic */
	uint64_t turn;    /* of the last answer with frames */
	int silent;       /* for longer than a lease lasts, and noted */
	tb_buf health;    /* its newest Health */
} tb_member;

typedef struct tb_group_state {
	const tb_group_row *row; /* NULL: those of no group */
	uint64_t generation;
	uint8_t member[TB_MEMBER_ID]; /* holder, of a group that is leased as a whole */
	tb_opens open;      /* of groups that lease streams, the streams have them */
	tb_opens loose;     /* volatile ones */
	size_t open_count;  /* durable ones, those at the streams included */
	uint64_t handed_to; /* leased as a whole: all below were handed out under this generation */
	uint64_t handed_before; /* the same before the last answer */
	uint64_t rejected;
	tb_member *members;
	size_t member_count;
} tb_group_state;

tb_member *tb_member_find(const tb_group_state *group, const uint8_t *id);
tb_member *tb_member_add(tb_group_state *group, const uint8_t *id);
void tb_member_remove(tb_group_state *group, size_t index);
int tb_member_live(const tb_group_state *group, const uint8_t *id, uint64_t now_ns, uint64_t lease_ns);
size_t tb_members_live(const tb_group_state *group, uint64_t now_ns, uint64_t lease_ns);
void tb_group_drop(tb_group_state *group);

static inline int tb_member_same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, TB_MEMBER_ID) == 0;
}

#endif
