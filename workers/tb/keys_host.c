/* tb keys host NAME: what another host needs to talk to the broker. */
#include "bus/host_keys.h"
#include "store/instance.h"
#include "workers/tb/tb.h"

#include <stdio.h>

static tb_rc copy_public(tb_call *call, const char *from, const char *host_dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, bytes = { 0 };
	tb_rc rc = tb_disk_read_file(call->disk, from, 4096, &bytes, err);
	if (rc == TB_OK)
		rc = tb_disk_write_file(call->disk, tb_below(&path, host_dir, "instance.pub"), tb_buf_span(&bytes), 0, err);
	return rc;
}

static void print_made(const tb_call *call, const char *name, tb_buf *dir, uint64_t until_ns)
{
	tb_auto(tb_buf_drop) tb_buf until = { 0 };
	int is_broker = strcmp(name, TB_HOST_BROKER) == 0;
	if (call->json) {
		tb_print_json(json_pack("{s:s, s:s, s:o}", "host", name, "dir", tb_buf_text(dir), "until", tb_json_time(until_ns)));
		return;
	}
	tb_print_time(&until, until_ns);
	printf("%s\n", tb_buf_text(dir));
	fprintf(stderr, "valid until %s\n", tb_buf_text(&until));
	if (is_broker)
		fprintf(stderr, "next  in tb.yaml: listen.request: tls+tcp://0.0.0.0:7401 (listen.events, listen.topics for engines),\n"
		                "      then start the broker again\n");
	else
		fprintf(stderr,
		        "next  copy that directory to %s, by a way that nobody else reads, as e.g. /etc/tradebank/host, and there:\n"
		        "      tb-sealer --broker tls+tcp://BROKER:7401 --tls /etc/tradebank/host --key /etc/tradebank/host/instance.pub\n",
		        name);
}

/* The broker's own come with the first: without them nobody could use those. */
static tb_rc make_broker(tb_call *call, tb_host_order order, tb_err *err)
{
	order.name = TB_HOST_BROKER;
	order.renew = 0;
	tb_rc rc = tb_host_keys_make(call->disk, &order, err);
	return rc == TB_EBUSY ? TB_OK : rc;
}

tb_rc tb_keys_host(tb_call *call, const char *dir, tb_err *err)
{
	const struct keys_options *options = call->options;
	tb_auto(tb_buf_drop) tb_buf public = { 0 }, hosts = { 0 }, host_dir = { 0 };
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	char text[2 * TB_PUBLIC_KEY + 1];
	if (call->operand_count < 2) {
		tb_fail(err, TB_EINVAL, "it isn't said which host");
		tb_hint(err, "usage: tb keys host NAME, by any name; '" TB_HOST_BROKER "' is the broker's own");
		return TB_EINVAL;
	}
	const char *name = call->operands[1];
	tb_rc rc = tb_instance_public_read(call->disk, tb_below(&public, dir, "keys/instance.pub"), instance, repository, err);
	if (rc != TB_OK)
		return rc;
	tb_hex(text, instance, TB_PUBLIC_KEY);
	const tb_host_order order = { tb_below(&hosts, dir, "keys/hosts"), name, text, tb_real_ns(call->clock),
		                          options->valid_ns, options->renew };
	rc = tb_host_keys_make(call->disk, &order, err);
	if (rc == TB_OK)
		rc = make_broker(call, order, err);
	tb_below(&host_dir, tb_buf_text(&hosts), name);
	if (rc == TB_OK)
		rc = copy_public(call, tb_buf_text(&public), tb_buf_text(&host_dir), err);
	if (rc == TB_OK)
		print_made(call, name, &host_dir, order.now_ns + order.valid_ns);
	return rc;
}
