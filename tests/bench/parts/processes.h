/* The memory of an instance's processes.
 *
 * Counted are resident anonymous memory and file pages, without those of LMDB's files and of the outbox. The peak is the
 * highest anonymous memory seen (from statm) and the highest number of such file pages seen (from smaps, which costs
 * more), added up: never less than what was seen together. `hwm` is the kernel's own peak, with everything mapped. */
#ifndef BENCH_PROCESSES_H
#define BENCH_PROCESSES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_PROCESSES 16

typedef struct bench_process {
	pid_t pid;
	char name[24];
	uint64_t anonymous, files, hwm; /* highest seen; bytes */
} bench_process;

typedef struct bench_processes {
	bench_process items[BENCH_PROCESSES];
	size_t count;
} bench_processes;

/* What that `tb up` runs, itself, and the calling process, which is the engine. 0: there are not enough, or too many. */
int bench_find(bench_processes *all, pid_t up);
void bench_look(bench_processes *all, int files_too, int last);
uint64_t bench_peak(const bench_process *process);
/* After the last look: none was started anew. */
int bench_all_alive(const bench_processes *all);

#endif
