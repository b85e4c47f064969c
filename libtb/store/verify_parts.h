/* Verification, inside: what was read of each stream (verify_stream.c), the keys (verify_keys.c), the objects
 * (verify_objects.c), and what can no longer be restored (verify_reach.c). For the verify files of this room only. */
#ifndef TB_STORE_VERIFY_PARTS_H
#define TB_STORE_VERIFY_PARTS_H

#include "store/verify.h"

/* A manifest, as far as verification needs it. One that can't be read is known by its name alone. */
typedef struct tb_check_row {
	tb_archive_entry entry;
	int readable;
	int bad; /* a restore can't use it */
	uint64_t from, to, chain;
	size_t before_size;
	uint8_t before[TB_HASH_SIZE], hash[TB_HASH_SIZE];
	uint8_t period[TB_PERIOD_ID];
} tb_check_row;

typedef struct tb_check_gap { /* numbers that no manifest there accounts for */
	uint64_t from, to;
	int explained;
} tb_check_gap;

typedef struct tb_check_stream {
	char name[130];
	tb_check_row *rows; /* by last number, segments before backups */
	size_t row_count;
	tb_check_gap *gaps;
	size_t gap_count;
	tb_rc head_rc; /* before the listing: what it names must be listed */
	tb_head head;
	int has_remembered;
	tb_head remembered;
	uint64_t last; /* highest number that anything tells of */
} tb_check_stream;

typedef struct tb_check_object {
	uint8_t name[TB_OBJECT_NAME];
	uint64_t size_stored, size_plain;
	uint32_t stream, row;
	int seen;
} tb_check_object;

/* A row, a period or a range of numbers is hit; what cannot be restored because of it is worked out at the end. */
#define TB_NO_ROW UINT32_MAX
typedef struct tb_damage {
	const char *code;
	char *path, *detail;
	uint32_t stream, row; /* TB_NO_ROW: none; stream likewise */
	const uint8_t *period; /* NULL, or of one of the stream's rows: all its rows of that period are hit */
	uint64_t from, to;     /* numbers hit directly, when there is no row; 0..0: none */
	int harmless;
} tb_damage;

typedef struct tb_check {
	tb_archive *archive;
	tb_tier *tier;
	const tb_verify_options *options;
	tb_verified counts;
	tb_check_stream *streams;
	size_t stream_count;
	tb_check_object *objects;
	size_t object_count, object_capacity;
	tb_damage *damages;
	size_t damage_count, damage_capacity;
	uint64_t bytes_done, bytes_all;
} tb_check;

/* Adds one and returns it, for the fields that aren't given; the format is of its detail. */
tb_damage *tb_check_damage(tb_check *check, const char *code, const char *path, uint32_t stream, uint32_t row,
                           const char *format, ...) __attribute__((format(printf, 6, 7)));
tb_check_row *tb_check_row_at(tb_check *check, uint32_t stream, uint32_t row);
void tb_check_row_path(tb_check *check, uint32_t stream, uint32_t row, char ret_path[TB_MANIFEST_PATH]);
/* Is it damage of what was read, rather than a failure to read? Then it is a finding and verification goes on. */
int tb_check_is_damage(tb_rc rc);

tb_rc tb_check_stream_read(tb_check *check, uint32_t stream, tb_err *err);
tb_rc tb_check_keys(tb_check *check, tb_err *err);
tb_rc tb_check_names(tb_check *check, tb_err *err); /* all names in the repository, and objects among them */

/* What can't be restored because of it: from 0 when all can. */
void tb_check_reach(tb_check *check, const tb_damage *damage, uint64_t *ret_from, uint64_t *ret_to);

#endif
