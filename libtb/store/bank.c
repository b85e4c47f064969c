#include "store/bank.h"

#include "store/bank_room.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_DEFAULT (UINT64_C(1) << 40)
#define MAP_LEAST (UINT64_C(64) << 20)
#define DATABASES_MAX 4096
#define READERS_MAX 510

/* A named database that this process has a handle of. LMDB hands a handle opened in a transaction to the others when
 * that one commits; until then `owner` is it, and nobody else may use or open any. */
struct database {
	char *name;
	MDB_dbi handle;
	tb_txn *owner;
	int made;      /* by this process */
	uint64_t since; /* transactions begun before this one can't use the handle */
};

struct tb_bank {
	MDB_env *env;
	char *path;
	int flags;
	int lock;
	struct database *databases;
	size_t count, capacity;
	size_t active; /* transactions */
	uint64_t begun; /* transactions so far */
};

struct tb_txn {
	tb_bank *bank;
	MDB_txn *mdb;
	uint64_t at; /* bank->begun at its beginning */
	int writes;
};

struct tb_cursor {
	tb_bank *bank;
	MDB_cursor *mdb;
};

static const struct {
	int code;
	tb_rc rc;
	const char *hint;
} reasons[] = {
	{ MDB_MAP_FULL, TB_ENOSPACE, "the bank fills the address space it was opened with; lift the limit (ulimit -v)" },
	{ MDB_DBS_FULL, TB_EFULL, "" },
	{ MDB_READERS_FULL, TB_EFULL, "too many programs read this bank at once; end some of them" },
	{ MDB_CORRUPTED, TB_ECORRUPT, "move the bank aside: it is made anew from the repository" },
	{ MDB_PAGE_NOTFOUND, TB_ECORRUPT, "move the bank aside: it is made anew from the repository" },
	{ MDB_INVALID, TB_ECORRUPT, "the file is not a bank" },
	{ MDB_VERSION_MISMATCH, TB_EUNSUPPORTED, "the bank was made by another version of LMDB" },
	{ MDB_BAD_VALSIZE, TB_EINVAL, "keys are 1 to 511 bytes" },
	{ MDB_INCOMPATIBLE, TB_ECORRUPT, "" },
};

static tb_rc fail(tb_bank *bank, int code, const char *what, tb_err *err)
{
	if (code == EIO && tb_bank_is_full(bank->path))
		code = ENOSPC; /* what LMDB makes of a write of which only a part had room */
	if (code > 0)
		return tb_fail_errno(err, code, "bank %s: %s", bank->path, what);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].code != code)
			continue;
		tb_fail(err, reasons[i].rc, "bank %s: %s: %s", bank->path, what, mdb_strerror(code));
		tb_hint(err, "%s", reasons[i].hint);
		return reasons[i].rc;
	}
	return tb_fail(err, TB_EIO, "bank %s: %s: %s", bank->path, what, mdb_strerror(code));
}

static MDB_val val_of(tb_span span)
{
	return (MDB_val){ span.size, (void *)span.data };
}

static tb_span span_of(MDB_val val)
{
	return tb_span_of(val.mv_data, val.mv_size);
}

/* Opening */

static tb_rc make_directory(tb_bank *bank, tb_err *err)
{
	struct stat info;
	if (bank->flags & TB_BANK_READONLY) {
		tb_auto(tb_buf_drop) tb_buf data = { 0 };
		tb_buf_print(&data, "%s/data.mdb", bank->path);
		if (stat(tb_buf_text(&data), &info) != 0)
			return tb_fail_errno(err, errno, "no bank at %s", bank->path);
		return TB_OK;
	}
	if (mkdir(bank->path, 0700) != 0 && errno != EEXIST)
		return tb_fail_errno(err, errno, "can't make the directory %s", bank->path);
	return TB_OK;
}

/* The lock goes with the process that holds it, however that ends. */
static tb_rc take_lock(tb_bank *bank, tb_err *err)
{
	if (!(bank->flags & TB_BANK_WRITER))
		return TB_OK;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/writer.lock", bank->path);
	bank->lock = open(tb_buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (bank->lock < 0)
		return tb_fail_errno(err, errno, "can't open %s", tb_buf_text(&path));
	if (flock(bank->lock, LOCK_EX | LOCK_NB) == 0)
		return TB_OK;
	if (errno != EWOULDBLOCK)
		return tb_fail_errno(err, errno, "can't lock %s", tb_buf_text(&path));
	tb_fail(err, TB_EBUSY, "the bank %s is in use by another process", bank->path);
	tb_hint(err, "only one process writes a bank: stop the other one first");
	return TB_EBUSY;
}

static int open_env(const char *path, unsigned flags, uint64_t map_size, MDB_env **ret_env)
{
	MDB_env *env;
	int code = mdb_env_create(&env);
	if (code != 0)
		return code;
	if ((code = mdb_env_set_mapsize(env, map_size)) == 0 && (code = mdb_env_set_maxdbs(env, DATABASES_MAX)) == 0 &&
	    (code = mdb_env_set_maxreaders(env, READERS_MAX)) == 0)
		code = mdb_env_open(env, path, flags, 0600);
	if (code == 0)
		*ret_env = env;
	else
		mdb_env_close(env);
	return code;
}

static int write_empty(const char *path)
{
	MDB_env *env;
	if (unlink(path) != 0 && errno != ENOENT)
		return errno;
	int code = open_env(path, MDB_NOSUBDIR | MDB_NOLOCK, MAP_LEAST, &env);
	if (code != 0)
		return code;
	code = mdb_env_sync(env, 1);
	mdb_env_close(env);
	return code;
}

/* LMDB writes the first pages of a new file without a sync, and when the power goes then, what is left opens no more. So
 * the file is made beside and renamed; the directory is synced before anything is written into it. */
static tb_rc make_file(tb_bank *bank, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf data = { 0 }, beside = { 0 };
	tb_buf_print(&data, "%s/data.mdb", bank->path);
	tb_buf_print(&beside, "%s/data.mdb.new", bank->path);
	if (!(bank->flags & TB_BANK_WRITER) || (bank->flags & TB_BANK_SCRATCH) || access(tb_buf_text(&data), F_OK) == 0)
		return TB_OK;
	int code = write_empty(tb_buf_text(&beside));
	if (code == 0 && rename(tb_buf_text(&beside), tb_buf_text(&data)) != 0)
		code = errno;
	return code == 0 ? TB_OK : fail(bank, code, "can't make it", err);
}

static unsigned env_flags(const tb_bank *bank)
{
	return MDB_NOTLS | MDB_NOMEMINIT | (bank->flags & TB_BANK_READONLY ? MDB_RDONLY : 0) |
	       (bank->flags & TB_BANK_SCRATCH ? MDB_NOSYNC | MDB_NOMETASYNC : 0);
}

/* Address space may be limited (ulimit -v, a sanitizer): the default gives way. */
static tb_rc open_mapped(tb_bank *bank, uint64_t map_size, tb_err *err)
{
	uint64_t size = map_size ? map_size : MAP_DEFAULT;
	int code = open_env(bank->path, env_flags(bank), size, &bank->env);
	while (code == ENOMEM && map_size == 0 && size > MAP_LEAST) {
		size /= 2;
		code = open_env(bank->path, env_flags(bank), size, &bank->env);
	}
	if (code != 0)
		return fail(bank, code, "can't open it", err);
	if (!(bank->flags & TB_BANK_READONLY))
		mdb_reader_check(bank->env, NULL); /* slots of readers that were killed would pin old pages */
	return TB_OK;
}

static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = fd >= 0 && fsync(fd) == 0 ? 0 : errno;
	if (fd >= 0)
		close(fd);
	return code;
}

/* LMDB syncs its file, but not the names on the way to it. */
static tb_rc sync_names(tb_bank *bank, tb_err *err)
{
	if (bank->flags & (TB_BANK_READONLY | TB_BANK_SCRATCH))
		return TB_OK;
	char *copy = tb_strdup(bank->path);
	int code = sync_directory(bank->path);
	if (code == 0)
		code = sync_directory(dirname(copy));
	free(copy);
	return code == 0 ? TB_OK : fail(bank, code, "can't sync its directory", err);
}

static struct database *remember(tb_bank *bank, const char *name, MDB_dbi handle, tb_txn *owner)
{
	if (bank->count == bank->capacity) {
		bank->capacity = bank->capacity ? bank->capacity * 2 : 16;
		bank->databases = tb_realloc(bank->databases, bank->capacity * sizeof(*bank->databases));
	}
	struct database *database = &bank->databases[bank->count++];
	*database = (struct database){ .name = tb_strdup(name), .handle = handle, .owner = owner };
	return database;
}

static int open_each(tb_bank *bank, MDB_txn *mdb, MDB_cursor *cursor)
{
	MDB_val key, value;
	int code;
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		MDB_dbi handle;
		tb_buf_clear(&name);
		tb_buf_append(&name, key.mv_data, key.mv_size);
		code = mdb_dbi_open(mdb, tb_buf_text(&name), 0, &handle);
		if (code != 0)
			return code;
		remember(bank, tb_buf_text(&name), handle, NULL);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* All handles at once, while no other transaction is about: LMDB allows only one at a time to open any. */
static tb_rc open_databases(tb_bank *bank, tb_err *err)
{
	MDB_txn *mdb;
	MDB_dbi names;
	MDB_cursor *cursor;
	int code = mdb_txn_begin(bank->env, NULL, MDB_RDONLY, &mdb);
	if (code != 0)
		return fail(bank, code, "can't begin to read", err);
	code = mdb_dbi_open(mdb, NULL, 0, &names);
	if (code == 0 && (code = mdb_cursor_open(mdb, names, &cursor)) == 0) {
		code = open_each(bank, mdb, cursor);
		mdb_cursor_close(cursor);
	}
	if (code == 0)
		code = mdb_txn_commit(mdb);
	else
		mdb_txn_abort(mdb);
	return code == 0 ? TB_OK : fail(bank, code, "can't open its databases", err);
}

tb_rc tb_bank_open(const char *path, int flags, uint64_t map_size, tb_bank **ret_bank, tb_err *err)
{
	tb_bank *bank = tb_alloc_zero(1, sizeof(*bank));
	bank->path = tb_strdup(path);
	bank->flags = flags;
	bank->lock = -1;
	tb_rc rc = make_directory(bank, err);
	if (rc == TB_OK)
		rc = take_lock(bank, err);
	if (rc == TB_OK && !(flags & TB_BANK_READONLY))
		rc = tb_bank_take_room(path, err);
	if (rc == TB_OK)
		rc = make_file(bank, err);
	if (rc == TB_OK)
		rc = open_mapped(bank, map_size, err);
	if (rc == TB_OK)
		rc = sync_names(bank, err);
	if (rc == TB_OK)
		rc = open_databases(bank, err);
	if (rc != TB_OK) {
		tb_bank_close(bank);
		return rc;
	}
	*ret_bank = bank;
	return TB_OK;
}

void tb_bank_close(tb_bank *bank)
{
	if (bank == NULL)
		return;
	if (bank->env != NULL)
		mdb_env_close(bank->env);
	if (bank->lock >= 0)
		close(bank->lock);
	for (size_t i = 0; i < bank->count; i++)
		free(bank->databases[i].name);
	free(bank->databases);
	free(bank->path);
	free(bank);
}

tb_rc tb_bank_sync(tb_bank *bank, tb_err *err)
{
	int code = mdb_env_sync(bank->env, 1);
	return code == 0 ? TB_OK : fail(bank, code, "can't sync it", err);
}

uint64_t tb_bank_bytes(tb_bank *bank)
{
	MDB_envinfo info;
	MDB_stat stat;
	mdb_env_info(bank->env, &info);
	mdb_env_stat(bank->env, &stat);
	return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

/* Transactions */

static tb_rc begin(tb_bank *bank, int writes, tb_txn **ret_txn, tb_err *err)
{
	MDB_txn *mdb;
	unsigned flags = writes ? 0 : MDB_RDONLY;
	int code = mdb_txn_begin(bank->env, NULL, flags, &mdb);
	if (code == MDB_MAP_RESIZED && bank->active == 0) { /* another process has a larger one */
		code = mdb_env_set_mapsize(bank->env, 0);
		if (code == 0)
			code = mdb_txn_begin(bank->env, NULL, flags, &mdb);
	}
	if (code != 0)
		return fail(bank, code, writes ? "can't begin to write" : "can't begin to read", err);
	tb_txn *txn = tb_alloc(sizeof(*txn));
	*txn = (tb_txn){ .bank = bank, .mdb = mdb, .at = ++bank->begun, .writes = writes };
	bank->active++;
	*ret_txn = txn;
	return TB_OK;
}

tb_rc tb_bank_read(tb_bank *bank, tb_txn **ret_txn, tb_err *err)
{
	return begin(bank, 0, ret_txn, err);
}

tb_rc tb_bank_write(tb_bank *bank, tb_txn **ret_txn, tb_err *err)
{
	if (bank->flags & TB_BANK_READONLY)
		return tb_fail(err, TB_EREFUSED, "the bank %s is open for reading only", bank->path);
	return begin(bank, 1, ret_txn, err);
}

/* The handles that a transaction opened: everybody's from now on, or gone. */
static void settle_handles(tb_txn *txn, int keep)
{
	tb_bank *bank = txn->bank;
	size_t kept = 0;
	for (size_t i = 0; i < bank->count; i++) {
		struct database *database = &bank->databases[i];
		if (database->owner == txn && !keep) {
			free(database->name);
			continue;
		}
		if (database->owner == txn) {
			database->owner = NULL;
			database->since = bank->begun;
		}
		bank->databases[kept++] = *database;
	}
	bank->count = kept;
}

static int end_by_commit(tb_txn *txn)
{
	int code = mdb_txn_commit(txn->mdb);
	settle_handles(txn, code == 0);
	txn->bank->active--;
	free(txn);
	return code;
}

tb_rc tb_txn_commit(tb_txn *txn, tb_err *err)
{
	tb_bank *bank = txn->bank;
	int code = end_by_commit(txn);
	return code == 0 ? TB_OK : fail(bank, code, "can't commit", err);
}

void tb_txn_abort(tb_txn *txn)
{
	if (txn == NULL)
		return;
	if (!txn->writes) { /* a reader changes nothing; committing it keeps the handles that it opened */
		end_by_commit(txn);
		return;
	}
	mdb_txn_abort(txn->mdb);
	settle_handles(txn, 0);
	txn->bank->active--;
	free(txn);
}

/* Named databases */

static struct database *find(tb_bank *bank, const char *name)
{
	for (size_t i = 0; i < bank->count; i++)
		if (strcmp(bank->databases[i].name, name) == 0)
			return &bank->databases[i];
	return NULL;
}

static int someone_else_opens(const tb_txn *txn)
{
	const tb_bank *bank = txn->bank;
	for (size_t i = 0; i < bank->count; i++)
		if (bank->databases[i].owner != NULL && bank->databases[i].owner != txn)
			return 1;
	return 0;
}

static tb_rc no_database(const tb_txn *txn, const char *name, tb_err *err)
{
	return tb_fail(err, TB_ENOTFOUND, "the bank %s has no database \"%s\"", txn->bank->path, name);
}

static tb_rc not_now(const tb_txn *txn, const char *name, tb_err *err)
{
	return tb_fail(err, TB_EBUSY, "the bank %s can't open its database \"%s\" beside another transaction",
	               txn->bank->path, name);
}

static tb_rc open_known(const tb_txn *txn, const struct database *database, tb_db *ret_db, tb_err *err)
{
	int of_another = database->owner != NULL && database->owner != txn;
	int newer = database->owner == NULL && database->since >= txn->at;
	if ((of_another || newer) && database->made)
		return no_database(txn, database->name, err); /* made after this one began to look */
	if (of_another || newer)
		return not_now(txn, database->name, err);
	*ret_db = database->handle;
	return TB_OK;
}

tb_rc tb_txn_db(tb_txn *txn, const char *name, tb_db *ret_db, tb_err *err)
{
	struct database *database = find(txn->bank, name);
	if (database != NULL)
		return open_known(txn, database, ret_db, err);
	if (someone_else_opens(txn))
		return not_now(txn, name, err);
	MDB_dbi handle;
	int code = mdb_dbi_open(txn->mdb, name, txn->writes ? MDB_CREATE : 0, &handle);
	if (code == MDB_NOTFOUND)
		return no_database(txn, name, err);
	if (code != 0)
		return fail(txn->bank, code, "can't open a database", err);
	remember(txn->bank, name, handle, txn)->made = txn->writes;
	*ret_db = handle;
	return TB_OK;
}

tb_rc tb_txn_empty(tb_txn *txn, tb_db db, tb_err *err)
{
	int code = mdb_drop(txn->mdb, db, 0);
	return code == 0 ? TB_OK : fail(txn->bank, code, "can't empty a database", err);
}

tb_rc tb_txn_count(tb_txn *txn, tb_db db, uint64_t *ret_count, tb_err *err)
{
	MDB_stat stat;
	int code = mdb_stat(txn->mdb, db, &stat);
	if (code != 0)
		return fail(txn->bank, code, "can't count", err);
	*ret_count = stat.ms_entries;
	return TB_OK;
}

/* Entries */

tb_rc tb_txn_get(tb_txn *txn, tb_db db, tb_span key, tb_span *ret_value, tb_err *err)
{
	MDB_val name = val_of(key), value;
	int code = mdb_get(txn->mdb, db, &name, &value);
	if (code == MDB_NOTFOUND)
		return TB_ENOTFOUND;
	if (code != 0)
		return fail(txn->bank, code, "can't get an entry", err);
	*ret_value = span_of(value);
	return TB_OK;
}

static int put(tb_txn *txn, tb_db db, tb_span key, tb_span value, unsigned flags)
{
	MDB_val name = val_of(key), content = val_of(value);
	return mdb_put(txn->mdb, db, &name, &content, flags);
}

tb_rc tb_txn_put(tb_txn *txn, tb_db db, tb_span key, tb_span value, tb_err *err)
{
	int code = put(txn, db, key, value, 0);
	return code == 0 ? TB_OK : fail(txn->bank, code, "can't put an entry", err);
}

tb_rc tb_txn_append(tb_txn *txn, tb_db db, tb_span key, tb_span value, tb_err *err)
{
	int code = put(txn, db, key, value, MDB_APPEND);
	if (code == MDB_KEYEXIST)
		return tb_fail(err, TB_EINVAL, "bank %s: a key to append isn't behind the last one", txn->bank->path);
	return code == 0 ? TB_OK : fail(txn->bank, code, "can't append an entry", err);
}

tb_rc tb_txn_delete(tb_txn *txn, tb_db db, tb_span key, tb_err *err)
{
	MDB_val name = val_of(key);
	int code = mdb_del(txn->mdb, db, &name, NULL);
	if (code == MDB_NOTFOUND)
		return TB_ENOTFOUND;
	return code == 0 ? TB_OK : fail(txn->bank, code, "can't delete an entry", err);
}

tb_rc tb_txn_delete_below(tb_txn *txn, tb_db db, tb_span prefix, uint64_t *most, tb_err *err)
{
	tb_cursor *cursor;
	tb_rc rc = tb_cursor_open(txn, db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	while (rc == TB_OK && *most > 0) {
		tb_span key = { 0 }, value;
		rc = tb_cursor_seek(cursor, prefix, &key, &value, err);
		if (rc == TB_OK && (key.size < prefix.size || memcmp(key.data, prefix.data, prefix.size) != 0))
			rc = TB_ENOTFOUND;
		int code = rc == TB_OK ? mdb_cursor_del(cursor->mdb, 0) : 0;
		if (code != 0)
			rc = fail(txn->bank, code, "can't delete an entry", err);
		*most -= rc == TB_OK;
	}
	tb_cursor_close(cursor);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* Cursors */

tb_rc tb_cursor_open(tb_txn *txn, tb_db db, tb_cursor **ret_cursor, tb_err *err)
{
	MDB_cursor *mdb;
	int code = mdb_cursor_open(txn->mdb, db, &mdb);
	if (code != 0)
		return fail(txn->bank, code, "can't open a cursor", err);
	tb_cursor *cursor = tb_alloc(sizeof(*cursor));
	*cursor = (tb_cursor){ .bank = txn->bank, .mdb = mdb };
	*ret_cursor = cursor;
	return TB_OK;
}

static tb_rc move(tb_cursor *cursor, MDB_val key, MDB_cursor_op op, tb_span *ret_key, tb_span *ret_value, tb_err *err)
{
	MDB_val value;
	int code = mdb_cursor_get(cursor->mdb, &key, &value, op);
	if (code == MDB_NOTFOUND)
		return TB_ENOTFOUND;
	if (code != 0)
		return fail(cursor->bank, code, "can't move a cursor", err);
	*ret_key = span_of(key);
	*ret_value = span_of(value);
	return TB_OK;
}

tb_rc tb_cursor_seek(tb_cursor *cursor, tb_span from, tb_span *ret_key, tb_span *ret_value, tb_err *err)
{
	return move(cursor, val_of(from), from.size ? MDB_SET_RANGE : MDB_FIRST, ret_key, ret_value, err);
}

tb_rc tb_cursor_next(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err)
{
	return move(cursor, (MDB_val){ 0 }, MDB_NEXT, ret_key, ret_value, err);
}

tb_rc tb_cursor_last(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err)
{
	return move(cursor, (MDB_val){ 0 }, MDB_LAST, ret_key, ret_value, err);
}

tb_rc tb_cursor_prev(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err)
{
	return move(cursor, (MDB_val){ 0 }, MDB_PREV, ret_key, ret_value, err);
}

void tb_cursor_close(tb_cursor *cursor)
{
	if (cursor == NULL)
		return;
	mdb_cursor_close(cursor->mdb);
	free(cursor);
}
