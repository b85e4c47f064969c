#include "run/tier_access.h"

#include "run/config.h"

static tb_rc name_both(const tb_worker_env *env, const char *identity, const char *repository, tb_buf *ret_identity,
                       tb_buf *ret_repository, tb_err *err)
{
	if ((identity == NULL || repository == NULL) && env->dir == NULL)
		return tb_fail(err, TB_EKEY, "no identity and repository are named to rebuild it with");
	if (identity != NULL)
		tb_buf_print(ret_identity, "%s", identity);
	else
		tb_buf_print(ret_identity, "%s/keys/identity.key", env->dir);
	if (repository == NULL)
		return tb_config_repository(env->dir, ret_repository, err);
	tb_buf_print(ret_repository, "%s", repository);
	return TB_OK;
}

tb_rc tb_tier_access(const tb_worker_env *env, const char *identity, const char *repository, tb_archive **ret_archive,
                     tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf identity_path = { 0 }, repository_path = { 0 };
	tb_key *key = NULL;
	tb_rc rc = name_both(env, identity, repository, &identity_path, &repository_path, err);
	if (rc == TB_OK)
		rc = tb_key_read(env->disk, tb_buf_text(&identity_path), TB_KEY_IDENTITY, &key, err);
	if (rc == TB_OK)
		rc = tb_archive_open(env->disk, tb_buf_text(&repository_path), key, NULL, ret_archive, err);
	tb_key_free(key);
	return rc;
}
