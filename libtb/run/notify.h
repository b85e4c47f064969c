/* Telling systemd how it goes (sd_notify(3)), without its library. */
#ifndef TB_RUN_NOTIFY_H
#define TB_RUN_NOTIFY_H

/* Send a state ("READY=1", "STOPPING=1") to $NOTIFY_SOCKET. Without one there is nobody to tell, and when it can't be
 * told there is nothing that we could do about it: it says nothing. */
void tb_notify(const char *state);

#endif
