#include "workers/collector/collector.h"

int main(int argc, char **argv)
{
	return tb_worker_main(&collector_worker, argc, argv);
}
