/* An instance's directory: where things lie, and its making.
 *
 *   tb.yaml                configuration
 *   keys/instance.key      certifies and signs periods        keys/collector.key  signs manifests
 *   keys/identity.key      restores                           keys/period.rec     the present period's record
 *   keys/instance.pub      verifying key and repository id: public, what sealer and storer need
 *   repository/            the LOCAL tier                     journal/  banks/<worker>/  outbox/  run/  logs/ */
#ifndef TB_STORE_INSTANCE_H
#define TB_STORE_INSTANCE_H

#include "store/manifest.h"

/* Makes an instance in dir, which must be missing or empty (TB_EBUSY); config becomes its tb.yaml. The recovery kit's
 * text goes to ret_kit. When it fails nothing is left of it but the directory. */
tb_rc tb_instance_make(tb_disk *disk, const char *dir, tb_span config, uint64_t now_ns, tb_buf *ret_kit, tb_err *err);
/* TB_ENOTFOUND: dir holds no instance (no tb.yaml), with a hint. */
tb_rc tb_instance_check(tb_disk *disk, const char *dir, tb_err *err);

/* keys/instance.pub: "tradebank-instance 1\ninstance: <hex>\nrepository: <hex>\n". path: the file itself. */
tb_rc tb_instance_public_read(tb_disk *disk, const char *path, uint8_t ret_instance[TB_PUBLIC_KEY],
                              uint8_t ret_repository[TB_REPOSITORY_ID], tb_err *err);

#endif
