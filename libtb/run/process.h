/* What each of the long-running programs does first, before it has threads. */
#ifndef TB_RUN_PROCESS_H
#define TB_RUN_PROCESS_H

/* Takes as many file descriptors as it may have, since a connection is one; gives large memory back when it is freed;
 * blocks signals, which threads inherit. */
void tb_process_begin(void);
/* Gives back what lies about in pieces, if it is much: what many peers took is kept otherwise when they are gone. Takes
 * milliseconds then: now and again, say each ten seconds. */
void tb_process_trim(void);

#endif
