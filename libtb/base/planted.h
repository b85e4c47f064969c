/* Planted bugs, to measure the tests by: tests/sim has to find each of them, tests/crash those of deploy/crash. They are in no other program: without
 * TB_PLANT each is a plain 0. In use: `if (condition || TB_PLANTED(3))`.
 *
 *    1 broker       requests are answered before the batch they lean on is synced
 *    2 journal      what could be read after a failed sync isn't written again at opening
 *    3 broker       a put's generation isn't looked at
 *    4 broker       a frame's lease never lapses
 *    5 publisher    it never goes back to what was lost
 *    6 storer       a manifest is taken though its objects aren't there
 *    7 loop         a put is taken as answered when its answer was lost
 *    8 publisher    an old frame is sent again, though it straddles what is durable
 *    9 signal       a second record for a backup that is told again
 *   10 collector    one of a turn's deltas isn't applied
 *   11 collector    a backup's replay begins one event too late
 *   12 journal      a batch is believed without the check over its body
 *   13 broker       what a lost answer bore isn't handed out again
 *   14 collector    the state sum isn't moved by deletes
 *   15 journal      a batch is taken as durable without its sync
 *   16 tier         an object is taken as stored without its sync
 *   17 tier         a name is taken as stored without its directory's sync
 *   18 journal      a new file is used before its name is synced
 *   19 broker       an outbox that opens goes on at the highest number, which another event has
 *   20 broker       what came of an outbox is counted one short
 *   21 collector    a bank that is rebuilt begins one event too late, and isn't compared with what was recorded
 *   22 collector    a bank that is behind, or that another one overtook, isn't discarded
 *   23 broker       an older copy of an outbox keeps its id
 *   24 outbox       numbers stay when the broker moves them */
#ifndef TB_BASE_PLANTED_H
#define TB_BASE_PLANTED_H

#ifdef TB_PLANT
extern int tb_planted; /* which one is awake; 0: none */
#define TB_PLANTED(number) (tb_planted == (number))
#else
#define TB_PLANTED(number) 0
#endif

#endif
