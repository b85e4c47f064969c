/* The loop of a worker without its process: take, turn, put. worker.c gives it a bus of sockets and a signalfd; a test
 * gives it a bus of its own. */
#ifndef TB_RUN_LOOP_H
#define TB_RUN_LOOP_H

#include "run/worker.h"

typedef struct tb_loop tb_loop;

/* env: dir, key, bank, bus, disk, clock, options and wake_fd are set and stay until close; the member's id is read from
 * the bank. signal_fd: a signalfd that asks for the end, or -1. */
tb_rc tb_loop_open(const tb_worker *worker, tb_worker_env *env, int signal_fd, tb_loop **ret_loop, tb_err *err);
/* Once: take and handle, then put what is queued, then say how it is. */
tb_rc tb_loop_turn(tb_loop *loop, tb_err *err);
int tb_loop_stopped(const tb_loop *loop); /* signal_fd has asked for it */
void tb_loop_close(tb_loop *loop); /* NULL is fine */

#endif
