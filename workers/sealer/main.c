#include "workers/sealer/sealer.h"

int main(int argc, char **argv)
{
	return tb_worker_main(&sealer_worker, argc, argv);
}
