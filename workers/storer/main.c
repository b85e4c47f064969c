#include "workers/storer/storer.h"

int main(int argc, char **argv)
{
	return tb_worker_main(&storer_worker, argc, argv);
}
