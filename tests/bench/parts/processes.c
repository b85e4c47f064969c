#include "bench/parts/processes.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

static void look_at_memory(bench_process *process)
{
	unsigned long all, resident, shared;
	FILE *file = open_proc(process->pid, "statm");
	if (file == NULL)
		return;
	if (fscanf(file, "%lu %lu %lu", &all, &resident, &shared) == 3) {
		uint64_t anonymous = (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
		if (anonymous > process->anonymous)
			process->anonymous = anonymous;
	}
	fclose(file);
}

static int is_counted(const char *path)
{
	return *path == '/' && strstr(path, ".mdb") == NULL && strstr(path, "/outbox/") == NULL;
}

/* File pages of the mappings that are counted. Of a mapping's pages those that are its own are anonymous. */
static void look_at_files(bench_process *process)
{
	char line[1024], path[600];
	unsigned long kib;
	uint64_t resident = 0;
	int counted = 0;
	FILE *file = open_proc(process->pid, "smaps");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		path[0] = '\0';
		if (!isupper((unsigned char)line[0])) { /* a mapping's first line */
			sscanf(line, "%*s %*s %*s %*s %*s %599s", path);
			counted = is_counted(path);
		} else if (counted && sscanf(line, "Rss: %lu", &kib) == 1) {
			resident += kib * 1024;
		} else if (counted && sscanf(line, "Anonymous: %lu", &kib) == 1) {
			resident -= kib * 1024;
		}
	}
	fclose(file);
	if (resident > process->files)
		process->files = resident;
}

static void look_at_hwm(bench_process *process)
{
	char line[256];
	unsigned long kib;
	FILE *file = open_proc(process->pid, "status");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmHWM: %lu", &kib) == 1)
			process->hwm = kib * 1024;
	fclose(file);
}

void bench_look(bench_processes *all, int files_too, int last)
{
	for (size_t i = 0; i < all->count; i++) {
		look_at_memory(&all->items[i]);
		if (files_too)
			look_at_files(&all->items[i]);
		if (last)
			look_at_hwm(&all->items[i]);
	}
}

uint64_t bench_peak(const bench_process *process)
{
	return process->anonymous + process->files;
}

int bench_all_alive(const bench_processes *all)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->items[i].hwm == 0)
			return 0;
	return 1;
}

/* name: NULL: what the process calls itself. */
static int add_process(bench_processes *all, pid_t pid, const char *name)
{
	if (all->count == BENCH_PROCESSES)
		return 0;
	bench_process *process = &all->items[all->count++];
	*process = (bench_process){ .pid = pid };
	snprintf(process->name, sizeof(process->name), "%s", name != NULL ? name : "?");
	FILE *file = name == NULL ? open_proc(pid, "comm") : NULL;
	if (file == NULL)
		return 1;
	if (fgets(process->name, sizeof(process->name), file) != NULL)
		process->name[strcspn(process->name, "\n")] = '\0';
	fclose(file);
	return 1;
}

int bench_find(bench_processes *all, pid_t up)
{
	char name[64];
	long pid;
	snprintf(name, sizeof(name), "task/%d/children", up);
	FILE *file = open_proc(up, name);
	while (file != NULL && fscanf(file, "%ld", &pid) == 1)
		if (!add_process(all, (pid_t)pid, NULL))
			break;
	if (file != NULL)
		fclose(file);
	return all->count >= 5 && add_process(all, up, "tb up") && add_process(all, getpid(), "engine");
}
