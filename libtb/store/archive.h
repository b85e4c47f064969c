/* The archive: a repository as a reader sees it: streams, their manifests, their segments. Needs no process.
 *
 * Segment object, plain: the stream's EVENTS frames from..to as the broker journalled them, one behind the other. */
#ifndef TB_STORE_ARCHIVE_H
#define TB_STORE_ARCHIVE_H

#include "store/manifest.h"
#include "wire/frame.h"

typedef struct tb_archive tb_archive;

static inline unsigned long long tb_ull(uint64_t value) /* for %llu */
{
	return value;
}

/* One manifest by its name alone. */
typedef struct tb_archive_entry {
	uint64_t last;
	const tb_backup_type *type;
	char id[TB_BACKUP_ID];
} tb_archive_entry;

/* url: the repository. identity: may be NULL, then nothing sealed can be opened, and instance (the verifying key) must
 * be given if signatures are to be checked: without either TB_EKEY. */
tb_rc tb_archive_open(tb_disk *disk, const char *url, const tb_key *identity, const uint8_t *instance,
                      tb_archive **ret_archive, tb_err *err);
void tb_archive_close(tb_archive *archive);
tb_tier *tb_archive_tier(tb_archive *archive);
/* TB_EKEY: the identity is of another repository. */
tb_rc tb_archive_fits(const tb_archive *archive, const tb_key *identity, tb_err *err);
const uint8_t *tb_archive_instance(const tb_archive *archive);
const uint8_t *tb_archive_repository(const tb_archive *archive);

int tb_archive_is(const tb_archive_entry *entry, const char *prefix); /* of that type? "SEG", "FUL" */

/* Names of streams that have manifests, ascending. Free each and the list with free. */
tb_rc tb_archive_streams(tb_archive *archive, char ***ret_names, size_t *ret_count, tb_err *err);
/* A stream's manifests by last number, then segments before backups. Free with free. TB_ENOTFOUND: no such stream; the
 * hint names those there are. Names that aren't manifests' are skipped (verify names them). */
tb_rc tb_archive_list(tb_archive *archive, const char *stream, tb_archive_entry **ret_entries, size_t *ret_count,
                      tb_err *err);
/* Reads and checks one. Its own fields must agree with its name: TB_ECORRUPT. */
tb_rc tb_archive_manifest(tb_archive *archive, const char *stream, const tb_archive_entry *entry, tb_arena *arena,
                          Tb__Manifest **ret_manifest, uint8_t ret_hash[TB_HASH_SIZE], tb_err *err);
/* Its private part. */
tb_rc tb_archive_private(tb_archive *archive, const Tb__Manifest *manifest, tb_arena *arena,
                         Tb__ManifestPrivate **ret_private, tb_err *err);
/* An object by name: fetched, its name and size checked, opened. TB_ENOTFOUND says "payload missing", which object and
 * where it looked; TB_ECORRUPT names the object. */
tb_rc tb_archive_object(tb_archive *archive, const Tb__ObjectRef *object, tb_content content, tb_buf *ret_plain,
                        tb_err *err);
/* The newest head of a stream. TB_ENOTFOUND; TB_ECORRUPT, TB_EKEY when it is damaged. */
tb_rc tb_archive_head(tb_archive *archive, const char *stream, tb_head *ret_head, tb_err *err);

/* The frames of one opened segment, verified: each is EVENTS of that stream, numbers dense from manifest->from to
 * manifest->to. */
tb_rc tb_segment_check(tb_span plain, const Tb__Manifest *manifest, tb_err *err);

/* Each event of a range in order, from archived segments (which are opened one at a time). rejected: it is in the
 * segment's list of rejected numbers. Return TB_OK to go on; any other ends the walk with that code. */
typedef struct tb_archived_event {
	uint64_t number, stamp_ns, effective_ns, epoch;
	uint16_t flags; /* of its frame; APART only when it is the first there */
	int rejected;
	tb_span canonical;
} tb_archived_event;
typedef tb_rc (*tb_archived_event_fn)(void *context, const tb_archived_event *event, tb_err *err);
/* The events of one opened segment, which is checked first. Rejected events don't move the effective time. Of the
 * manifest only stream, backup, from, to, time_from_ns and rejected are looked at. */
tb_rc tb_segment_events(tb_span plain, const Tb__Manifest *manifest, tb_archived_event_fn each, void *context,
                        tb_err *err);
/* to: inclusive. ret_last: the highest number given (from - 1 when none). TB_ECORRUPT when a segment in between is
 * missing or damaged: names it. An end before `to` is no error. */
tb_rc tb_archive_events(tb_archive *archive, const char *stream, uint64_t from, uint64_t to, tb_archived_event_fn each,
                        void *context, uint64_t *ret_last, tb_err *err);

#endif
