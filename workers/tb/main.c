#include "workers/tb/tb.h"

int main(int argc, char **argv)
{
	return tb_command(argc, argv);
}
