/* Room for a bank: what LMDB does not look after when a disk is full. */
#ifndef TB_STORE_BANK_ROOM_H
#define TB_STORE_BANK_ROOM_H

#include "base/buf.h"
#include "base/err.h"

/* LMDB maps lock.mdb, and writing to a page of it that the disk has no room for would end the process (SIGBUS):
 * takes real blocks for it. TB_ENOSPACE when there are none. */
tb_rc tb_bank_take_room(const char *dir, tb_err *err);

/* Is the disk that it lies on full? */
int tb_bank_is_full(const char *dir);

#endif
