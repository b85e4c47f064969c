#include "workers/signal/signal.h"

int main(int argc, char **argv)
{
	return tb_worker_main(&signal_worker, argc, argv);
}
