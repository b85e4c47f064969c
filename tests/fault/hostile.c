/* hostile ATTACK DIR [STREAM]: a stranger at the sockets of the instance in DIR. It speaks raw nng and raw bytes, and
 * knows the formats well enough to lie in each of them. Prints what it did as one JSON object; exit code 1 when it
 * couldn't do it. What the instance makes of it is for tests/e2e/hostile.sh to judge. */
#include "base/bytes.h"
#include "bus/bus.h"
#include "control.pb-c.h"
#include "frames.pb-c.h"
#include "wire/event.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)
#define FLOOD 100000
#define CONNECTIONS 1000
#define HELLOS 5000

static const char *dir, *victim;
static uint64_t sent, refused, granted;

static void die(const char *what)
{
	fprintf(stderr, "hostile: %s\n", what);
	exit(1);
}

/* protobuf-c's texts aren't const; nothing writes to them. */
static char *say(const char *text)
{
	return (char *)(uintptr_t)text;
}

static void nap(unsigned ms)
{
	struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };
	nanosleep(&time, NULL);
}

/* The same bytes on every run. */
static uint64_t chance(void)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void chance_fill(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(chance() >> 32);
}

/* ---- sockets */

static nng_socket dial(int (*open_fn)(nng_socket *), const char *name)
{
	nng_socket socket = NNG_SOCKET_INITIALIZER;
	tb_buf url = { 0 };
	if (tb_bus_address(dir, name, &url, NULL) != TB_OK || open_fn(&socket) != 0)
		die("no socket");
	nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 20000);
	nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, 5000);
	nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 0);
	int error = nng_dial(socket, tb_buf_text(&url), NULL, 0);
	if (error != 0)
		die(nng_strerror(error));
	tb_buf_drop(&url);
	return socket;
}

static void send_bytes(nng_socket socket, tb_span bytes)
{
	if (nng_send(socket, (void *)(uintptr_t)bytes.data, bytes.size, 0) == 0)
		sent++;
}

/* The first field of every answer is its status. */
static unsigned status_of(tb_span answer)
{
	tb_frame frame;
	uint64_t size;
	unsigned code = TB_RC_COUNT;
	if (tb_frame_read(&answer, &frame, NULL) != TB_OK || frame.body.size < 2 || frame.body.data[0] != 0x0a)
		return code;
	tb_span status = tb_span_of(frame.body.data + 1, frame.body.size - 1);
	Tb__Status *read = tb_get_varint(&status, &size) && size <= status.size ? tb__status__unpack(NULL, size, status.data) : NULL;
	if (read != NULL)
		code = read->code;
	tb__status__free_unpacked(read, NULL);
	return code;
}

/* One question, its answer's status; TB_RC_COUNT: none came. */
static unsigned ask(nng_socket socket, tb_span request, tb_buf *ret_answer)
{
	void *answer;
	size_t size;
	send_bytes(socket, request);
	if (nng_recv(socket, &answer, &size, NNG_FLAG_ALLOC) != 0)
		return TB_RC_COUNT;
	unsigned code = status_of(tb_span_of(answer, size));
	refused += code != TB_OK;
	granted += code == TB_OK;
	if (ret_answer != NULL) {
		tb_buf_clear(ret_answer);
		tb_buf_append(ret_answer, answer, size);
	}
	nng_free(answer, size);
	return code;
}

static unsigned ask_message(nng_socket socket, enum tb_kind kind, const ProtobufCMessage *message, tb_span frames)
{
	tb_buf request = { 0 };
	tb_control_write(&request, kind, message);
	tb_buf_append_span(&request, frames);
	unsigned code = ask(socket, tb_buf_span(&request), NULL);
	tb_buf_drop(&request);
	return code;
}

/* ---- frames */

static void frame_of(tb_buf *to, tb_frame frame, const ProtobufCMessage *message)
{
	tb_buf body = { 0 };
	size_t size = protobuf_c_message_get_packed_size(message);
	tb_buf_reserve(&body, size + 1);
	body.size = protobuf_c_message_pack(message, body.data);
	frame.count = 1;
	frame.body = tb_buf_span(&body);
	tb_frame_write(to, &frame);
	tb_buf_drop(&body);
}

static void events_of(tb_buf *to, uint64_t stream, uint64_t epoch, uint64_t first, unsigned count, size_t size)
{
	uint8_t *value = tb_alloc_zero(1, size);
	tb_buf canonical = { 0 };
	tb_event event;
	tb_event_default(&event, TB_EVENT_OPAQUE);
	event.time_ns = 1;
	event.body.opaque.source = "hostile";
	event.body.opaque.data = (tb_bytes){ value, size };
	if (tb_event_pack(&canonical, &event, 1, NULL, NULL) != TB_OK)
		die("no event");
	tb_buf_clear(to);
	size_t at = tb_frame_begin(to);
	for (unsigned i = 0; i < count; i++)
		tb_events_append(to, tb_buf_span(&canonical));
	tb_frame_end(to, at, &(tb_frame){ .kind = TB_KIND_EVENTS, .count = count, .stream = stream, .epoch = epoch, .first = first });
	tb_buf_drop(&canonical);
	free(value);
}

/* A head whose check holds, whatever it says. */
static void head_of(uint8_t head[TB_FRAME_HEAD], uint16_t kind, uint32_t size, uint64_t stream)
{
	tb_frame frame = { .kind = kind, .count = 1, .stream = stream };
	tb_frame_head(head, &frame);
	tb_put32(head + 8, size);
	tb_frame_stamp(head, 1);
}

/* ---- connections without nng */

static const char *const names[] = { "broker", "events", "topics", "signals" };

/* What each of them expects its peers to say first: REQ, PUB, SUB, REQ. */
static const uint8_t greetings[][8] = {
	{ 0, 'S', 'P', 0, 0, 0x30, 0, 0 },
	{ 0, 'S', 'P', 0, 0, 0x20, 0, 0 },
	{ 0, 'S', 'P', 0, 0, 0x21, 0, 0 },
	{ 0, 'S', 'P', 0, 0, 0x30, 0, 0 },
};

static int connect_raw(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/%s.ipc", dir, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	sent++;
	return fd;
}

static void write_all(int fd, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	while (size > 0) {
		ssize_t written = send(fd, bytes, size, MSG_NOSIGNAL);
		if (written <= 0)
			die("the connection was cut");
		bytes += written;
		size -= (size_t)written;
	}
}

/* An engine's connection. Unlike nng's it drops nothing: what is sent arrives, as fast as it is taken. */
static int events_fd = -1;

static void events_open(void)
{
	uint8_t theirs[8];
	events_fd = connect_raw("events");
	if (events_fd < 0)
		die("can't connect");
	write_all(events_fd, greetings[1], 8);
	if (recv(events_fd, theirs, sizeof(theirs), MSG_WAITALL) != sizeof(theirs))
		die("not greeted");
}

static void publish_bytes(tb_span bytes)
{
	uint8_t head[9] = { 1 };
	tb_put64_be(head + 1, bytes.size);
	write_all(events_fd, head, sizeof(head));
	write_all(events_fd, bytes.data, bytes.size);
	sent++;
}

/* ---- attacks on the events' socket */

static void garbage(void)
{
	events_open();
	uint8_t bytes[4096];
	for (int i = 0; i < 20000; i++) {
		size_t size = chance() % sizeof(bytes);
		chance_fill(bytes, size < 128 ? size : 128);
		if (i % 3 == 0 && size >= TB_FRAME_HEAD) /* a good head, and a body that isn't its own */
			head_of(bytes, TB_KIND_EVENTS, (uint32_t)(size - TB_FRAME_HEAD), tb_stream_hash(victim));
		publish_bytes(tb_span_of(bytes, size));
	}
}

/* Sizes that are not those of the bodies, up to the end of the range. */
static void lengths(void)
{
	events_open();
	static const uint32_t sizes[] = { 1, 63, 4095, 65536, 33u << 20, (33u << 20) + 1, 0x7fffffff, 0xffffffff };
	uint8_t bytes[TB_FRAME_HEAD + 64] = { 0 };
	for (int i = 0; i < 20000; i++) {
		head_of(bytes, TB_KIND_EVENTS, sizes[i % 8], tb_stream_hash(victim));
		publish_bytes(tb_span_of(bytes, TB_FRAME_HEAD + chance() % 64));
	}
}

static void kinds(void)
{
	events_open();
	uint8_t head[TB_FRAME_HEAD];
	for (unsigned kind = 0; kind < 65536; kind++) {
		head_of(head, (uint16_t)kind, 0, tb_stream_hash(victim));
		publish_bytes(tb_span_of(head, sizeof(head)));
	}
}

/* The present epoch of the stream, as anybody may ask for it. */
static uint64_t epoch_of(nng_socket socket)
{
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	tb_buf bytes = { 0 }, answer = { 0 };
	tb_arena *arena = tb_arena_new();
	ProtobufCMessage *message;
	uint64_t epoch = 0;
	tb_control_write(&bytes, TB_KIND_STAT, &request.base);
	ask(socket, tb_buf_span(&bytes), &answer);
	tb_span rest = tb_buf_span(&answer);
	if (tb_control_read(&rest, TB_KIND_ANSWER, &tb__stat_reply__descriptor, arena, &message, NULL) == TB_OK)
		for (size_t i = 0; i < ((Tb__StatReply *)message)->n_streams; i++)
			if (strcmp(((Tb__StatReply *)message)->streams[i]->name, victim) == 0)
				epoch = ((Tb__StatReply *)message)->streams[i]->epoch;
	tb_arena_free(arena);
	tb_buf_drop(&bytes);
	tb_buf_drop(&answer);
	return epoch;
}

/* Numbers of all kinds but the next, under the right epoch. */
static void numbers(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint64_t epoch = 0;
	events_open();
	tb_buf frame = { 0 };
	for (int i = 0; i < 20000; i++) {
		static const uint64_t firsts[] = { 0, 1, UINT64_MAX, UINT64_MAX - 1, 1u << 30, UINT64_MAX / 2 };
		if (i % 50 == 0)
			epoch = epoch_of(socket);
		events_of(&frame, tb_stream_hash(victim), epoch, i % 7 == 6 ? chance() | 1u << 31 : firsts[i % 7], 2, 10);
		publish_bytes(tb_buf_span(&frame));
	}
	tb_buf_drop(&frame);
}

static void epochs(void)
{
	events_open();
	tb_buf frame = { 0 };
	for (int i = 0; i < 20000; i++) {
		uint64_t stream = i % 4 == 3 ? chance() : tb_stream_hash(victim);
		events_of(&frame, stream, 1000 + chance() % 1000, 1 + chance() % 100000, 1, 10);
		publish_bytes(tb_buf_span(&frame));
		if (i % 2)
			continue;
		tb_buf_clear(&frame);
		Tb__Heartbeat beat = TB__HEARTBEAT__INIT;
		uint8_t run[16] = { 1 };
		beat.last = UINT64_MAX;
		beat.run_id = (ProtobufCBinaryData){ 16, run };
		if (i % 20 == 0) /* not even a heartbeat */
			tb_frame_write(&frame, &(tb_frame){ .kind = TB_KIND_HEARTBEAT, .stream = stream, .body = tb_span_text("?") });
		else
			frame_of(&frame, (tb_frame){ .kind = TB_KIND_HEARTBEAT, .stream = stream, .epoch = chance() % 4 }, &beat.base);
		publish_bytes(tb_buf_span(&frame));
	}
	tb_buf_drop(&frame);
}

/* As fast as the socket takes them. */
static void flood(void)
{
	events_open();
	nng_socket socket = dial(nng_req0_open, "broker");
	tb_buf frame = { 0 };
	for (int i = 0; i < FLOOD; i++) {
		if (i % 500 == 0)
			events_of(&frame, tb_stream_hash(victim), epoch_of(socket), 1u << 30, 100, 500);
		publish_bytes(tb_buf_span(&frame));
	}
	tb_buf_drop(&frame);
}

/* The largest that a message may be. */
static void large(void)
{
	events_open();
	tb_buf frame = { 0 };
	events_of(&frame, tb_stream_hash(victim), 1, 1u << 30, 1, 31 * MIB);
	for (int i = 0; i < 100; i++)
		publish_bytes(tb_buf_span(&frame));
	tb_buf_drop(&frame);
}

/* ---- connections */

/* Connections that say nothing. */
static void silent(void)
{
	static int fds[4 * CONNECTIONS];
	for (int i = 0; i < 4 * CONNECTIONS; i++)
		fds[i] = connect_raw(names[i % 4]);
	nap(5000);
	for (int i = 0; i < 4 * CONNECTIONS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Connections that are gone before they are greeted. */
static void fleeting(void)
{
	for (int i = 0; i < 4 * CONNECTIONS; i++) {
		int fd = connect_raw(names[i % 4]);
		if (fd >= 0)
			close(fd);
	}
}

/* Peers that are greeted, and then say nothing. */
static void peers(void)
{
	static nng_socket sockets[CONNECTIONS];
	static int (*const opens[])(nng_socket *) = { nng_req0_open, nng_pub0_open, nng_sub0_open, nng_req0_open };
	tb_buf urls[4] = { { 0 } };
	for (int i = 0; i < 4; i++)
		if (tb_bus_address(dir, names[i], &urls[i], NULL) != TB_OK || opens[i](&sockets[i]) != 0)
			die("no socket");
	nng_socket_set(sockets[2], NNG_OPT_SUB_SUBSCRIBE, "", 0);
	for (int i = 0; i < CONNECTIONS; i++) /* each a connection of its own */
		for (int j = 0; j < 4; j++)
			sent += nng_dial(sockets[j], tb_buf_text(&urls[j]), NULL, NNG_FLAG_NONBLOCK) == 0;
	nap(8000);
}

/* Greeted, and then a part of a message of an honest, a largest, and an impossible size. */
static void halves(void)
{
	static const uint64_t sizes[] = { 100, 39u << 20, 33u << 20, 1u << 30, UINT64_MAX / 2, UINT64_MAX };
	static int fds[800];
	for (int i = 0; i < 800; i++) {
		uint8_t bytes[64] = { 0 };
		memcpy(bytes, greetings[i % 4], 8);
		bytes[8] = 1; /* a message, its size big-endian */
		tb_put64_be(bytes + 9, sizes[i % 6]);
		chance_fill(bytes + 17, 40);
		fds[i] = connect_raw(names[i % 4]);
		if (fds[i] >= 0 && send(fds[i], bytes, i % 3 ? 57 : 12, MSG_NOSIGNAL) < 0)
			refused++;
	}
	nap(5000);
	for (int i = 0; i < 800; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* ---- requests */

static void requests(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t *bytes = tb_alloc_zero(1, 4 * MIB);
	for (int i = 0; i < 5000; i++) {
		size_t size = chance() % 4096;
		chance_fill(bytes, size);
		if (i % 2)
			head_of(bytes, (uint16_t)(chance() % 64), (uint32_t)size, chance());
		ask(socket, tb_span_of(bytes, size + TB_FRAME_HEAD * (i % 2)), NULL);
	}
	/* A body that is a message of millions of fields that nobody knows. */
	for (unsigned kind = TB_KIND_HELLO; kind <= TB_KIND_STAT; kind++) {
		tb_buf request = { 0 };
		memset(bytes, 0, 4 * MIB);
		for (size_t at = 0; at + 1 < 4 * MIB; at += 2)
			bytes[at] = 15 << 3;
		tb_frame_write(&request, &(tb_frame){ .kind = (uint16_t)kind, .count = 1, .body = tb_span_of(bytes, 4 * MIB) });
		ask(socket, tb_buf_span(&request), NULL);
		tb_buf_drop(&request);
	}
	free(bytes);
}

static void takes(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	static Tb__Held held[200000], *list[200000];
	uint8_t member[16];
	for (size_t i = 0; i < 200000; i++) {
		held[i] = (Tb__Held)TB__HELD__INIT;
		held[i].stream = i % 2 ? tb_stream_hash(victim) : chance();
		held[i].generation = chance() % 5;
		held[i].next = i % 3 ? chance() : UINT64_MAX;
		list[i] = &held[i];
	}
	for (int i = 0; i < 300; i++) {
		Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
		chance_fill(member, sizeof(member));
		static const uint32_t groups[] = { 2, 3, 4, 0, 5, 0xffffffff };
		take.group = groups[i % 6];
		take.member = (ProtobufCBinaryData){ i % 5 ? 16 : chance() % 16, member };
		take.bytes_max = i % 2 ? UINT64_MAX : 0;
		take.wait_ms = i % 50 ? 0 : UINT32_MAX;
		take.generation = chance();
		take.turn = i % 3 ? UINT64_MAX : 0;
		take.nothing = i % 4 == 0;
		take.n_held = i % 10 == 0 ? 200000 : i % 7;
		take.held = list;
		ask_message(socket, TB_KIND_TAKE, &take.base, (tb_span){ 0 });
	}
}

/* Every place for a request taken by one that waits. */
static void waits(void)
{
	enum { COUNT = 1000 };
	static nng_socket sockets[COUNT];
	tb_buf request = { 0 };
	Tb__FetchRequest fetch = TB__FETCH_REQUEST__INIT;
	fetch.stream = say(victim);
	fetch.from = UINT64_MAX;
	fetch.wait_ms = UINT32_MAX;
	tb_control_write(&request, TB_KIND_FETCH, &fetch.base);
	for (int i = 0; i < COUNT; i++) {
		sockets[i] = dial(nng_req0_open, "broker");
		send_bytes(sockets[i], tb_buf_span(&request));
	}
	nap(5000);
	tb_buf_drop(&request);
}

/* What has to wait, with a lot behind it: it would be kept for as long. */
static void burdens(void)
{
	enum { COUNT = 150 };
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t *burden = tb_alloc_zero(1, 8 * MIB);
	Tb__FetchRequest fetch = TB__FETCH_REQUEST__INIT;
	fetch.stream = say(victim);
	fetch.from = UINT64_MAX;
	fetch.wait_ms = UINT32_MAX;
	for (int i = 0; i < COUNT; i++)
		if (ask_message(socket, TB_KIND_FETCH, &fetch.base, tb_span_of(burden, 8 * MIB)) != TB_EINVAL)
			die("a burden was taken");
	free(burden);
}

static void fetches(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	char *name = tb_alloc_zero(1, MIB + 1);
	memset(name, 'a', MIB);
	for (int i = 0; i < 2000; i++) {
		Tb__FetchRequest fetch = TB__FETCH_REQUEST__INIT;
		fetch.stream = i % 5 == 0 ? name : i % 5 == 1 ? say("../../etc") : say(victim);
		fetch.from = i % 3 ? chance() % 1000 : UINT64_MAX - 1;
		fetch.to = i % 4 ? UINT64_MAX : chance();
		fetch.bytes_max = i % 2 ? UINT64_MAX : 1;
		ask_message(socket, TB_KIND_FETCH, &fetch.base, (tb_span){ 0 });
	}
	free(name);
}

/* ---- puts */

static unsigned put(nng_socket socket, unsigned group, const uint8_t *member, uint64_t generation, uint64_t stream,
                    tb_span frames, const uint64_t *finished, size_t count)
{
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.group = group;
	if (member != NULL)
		request.member = (ProtobufCBinaryData){ 16, (uint8_t *)(uintptr_t)member };
	request.generation = generation;
	request.stream = stream;
	request.finished = (uint64_t *)(uintptr_t)finished;
	request.n_finished = count;
	return ask_message(socket, TB_KIND_PUT, &request.base, frames);
}

static char *long_text(size_t size)
{
	char *text = tb_alloc_zero(1, size + 1);
	memset(text, 'x', size);
	return text;
}

static ProtobufCBinaryData blob(const void *bytes, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)bytes };
}

static const char *const paths[] = {
	"manifests/../../../../../../tmp/tb-hostile-was-here", "/tmp/tb-hostile-was-here", "../tradebank.json",
	"tradebank.json", "keys/x", "", "manifests/victim/0000000000000001-SEG", "objects/aa/aa", ".", "..",
};
enum { PATHS = sizeof(paths) / sizeof(paths[0]) };

static void manifest_frame(tb_buf *to, unsigned i, const char *stream, uint64_t chain)
{
	static uint8_t junk[256];
	static char *text;
	text = text != NULL ? text : long_text(MIB);
	Tb__ManifestFrame manifest = TB__MANIFEST_FRAME__INIT;
	ProtobufCBinaryData objects[2] = { blob(junk, 32), blob(junk, 31) };
	manifest.stream = say(i % 4 == 3 ? text : stream);
	manifest.path = say(paths[i % PATHS]);
	manifest.manifest = blob(junk, sizeof(junk));
	manifest.head = blob(junk, i % 3 ? 256 : 7);
	manifest.chain = chain;
	manifest.n_objects = i % 3;
	manifest.objects = objects;
	manifest.backup = i % 5 == 4 ? text : say("FUL_19990101T000000Z_0000000000000000");
	manifest.type = say(i % 2 ? "FULL" : "SEGMENT");
	manifest.from = 1;
	manifest.to = UINT64_MAX;
	frame_of(to, (tb_frame){ .kind = TB_KIND_MANIFEST, .stream = tb_stream_hash(stream), .first = chain }, &manifest.base);
}

static void stored_frame(tb_buf *to, unsigned i, const char *stream)
{
	static char *text;
	text = text != NULL ? text : long_text(MIB);
	Tb__Stored stored = TB__STORED__INIT;
	char *tiers[1] = { i % 2 ? text : say("local") };
	stored.stream = say(i % 3 ? stream : text);
	stored.backup = i % 4 ? text : say("");
	stored.type = say(i % 2 ? "FULL" : "SEGMENT");
	stored.from = i % 2;
	stored.to = UINT64_MAX;
	stored.chain = UINT64_MAX;
	stored.path = say(paths[i % PATHS]);
	stored.tiers = tiers;
	stored.n_tiers = 1;
	stored.time_ns = UINT64_MAX;
	frame_of(to, (tb_frame){ .kind = TB_KIND_STORED, .stream = tb_stream_hash(stream) }, &stored.base);
}

static void sealed_frame(tb_buf *to, unsigned i, const char *stream, const uint8_t name[32])
{
	static uint8_t plan[4096];
	Tb__Sealed sealed = TB__SEALED__INIT;
	sealed.name = blob(name, i % 4 == 3 ? 31 : 32);
	sealed.size_plain = UINT64_MAX;
	sealed.size_stored = UINT64_MAX;
	sealed.from = i % 3 ? 1 + chance() % 1000 : UINT64_MAX;
	sealed.to = chance();
	sealed.backup = say("FUL_19990101T000000Z_0000000000000000");
	sealed.plan = blob(plan, i % 2 ? 0 : i % 16 ? 16 : sizeof(plan));
	sealed.index = i % 5 ? UINT64_MAX : 0;
	frame_of(to, (tb_frame){ .kind = TB_KIND_SEALED, .stream = tb_stream_hash(stream) }, &sealed.base);
}

static void object_frame(tb_buf *to, size_t size)
{
	tb_buf body = { 0 };
	tb_buf_reserve(&body, size + 8);
	memset(body.data, 'o', size);
	body.size = size;
	tb_frame_write(to, &(tb_frame){ .kind = TB_KIND_OBJECT, .count = 1, .body = tb_buf_span(&body) });
	tb_buf_drop(&body);
}

static void cut_frame(tb_buf *to, unsigned i, const char *stream)
{
	Tb__Cut cut = TB__CUT__INIT;
	uint8_t period[500] = { 0 };
	cut.stream = say(i % 2 ? stream : "../other");
	cut.from = i % 3;
	cut.to = i % 5 ? UINT64_MAX : 1;
	cut.period = blob(period, i % 2 ? 500 : 3);
	frame_of(to, (tb_frame){ .kind = TB_KIND_CUT, .stream = tb_stream_hash(stream) }, &cut.base);
}

static void chunk_frame(tb_buf *to, unsigned i, const char *stream, size_t size)
{
	uint8_t *content = tb_alloc_zero(1, size), plan[16] = { 0 };
	Tb__Chunk chunk = TB__CHUNK__INIT;
	chunk.stream = say(stream);
	chunk.backup = say("x");
	chunk.plan = blob(plan, 16);
	chunk.index = i;
	chunk.content = blob(content, size);
	frame_of(to, (tb_frame){ .kind = TB_KIND_CHUNK, .stream = tb_stream_hash(stream) }, &chunk.base);
	free(content);
}

static void order_frame(tb_buf *to, unsigned i, const char *stream)
{
	static char *text;
	text = text != NULL ? text : long_text(MIB);
	Tb__Order order = TB__ORDER__INIT;
	order.stream = say(i % 2 ? "nobody-knows-this" : i % 3 ? text : stream);
	order.type = i % 5 ? say("FULL") : text;
	order.backup = i % 4 == 0 ? say("../../x") : i % 4 == 1 ? say("") : text;
	order.by = text;
	frame_of(to, (tb_frame){ .kind = TB_KIND_ORDER, .stream = tb_stream_hash(stream) }, &order.base);
}

static void announce_frame(tb_buf *to, unsigned i)
{
	static const char *const topics[] = { "durable/", "durable/victim", "BACKUP_READY/victim", "json/BACKUP_READY/victim",
		                                  "health", "", "x" };
	Tb__Announce announce = TB__ANNOUNCE__INIT;
	char *text = long_text(300);
	announce.topic = say(i % 8 == 7 ? text : topics[i % 7]);
	announce.body = blob("forged", 6);
	frame_of(to, (tb_frame){ .kind = TB_KIND_ANNOUNCE }, &announce.base);
	free(text);
}

static void health_frame(tb_buf *to, unsigned i)
{
	static char *text;
	text = text != NULL ? text : long_text(15000);
	Tb__Health health = TB__HEALTH__INIT;
	health.role = i % 2 ? text : say("storer");
	health.state = say("healthy");
	health.pid = chance();
	health.time_ns = UINT64_MAX;
	frame_of(to, (tb_frame){ .kind = TB_KIND_HEALTH }, &health.base);
}

static void put_one(nng_socket socket, unsigned i, unsigned group, const uint8_t *member, uint64_t generation, uint64_t lease)
{
	static uint8_t name[32];
	const char *stream = i % 4 == 2 ? "tb.signals" : victim;
	uint64_t finished[4] = { chance() % 100000, chance(), UINT64_MAX, UINT64_C(1) << 63 };
	tb_buf frames = { 0 };
	switch (i % 12) {
	case 0: manifest_frame(&frames, i / 12, stream, 1 + i % 3); break;
	case 1: stored_frame(&frames, i / 12, stream); break;
	case 2: sealed_frame(&frames, i / 12, stream, name); break;
	case 3: object_frame(&frames, 1000); break;
	case 4: cut_frame(&frames, i / 12, stream); break;
	case 5: chunk_frame(&frames, i, stream, 100000); break;
	case 6: order_frame(&frames, i / 12, stream); break;
	case 7: announce_frame(&frames, i / 12); break;
	case 8: health_frame(&frames, i / 12); break;
	case 9: events_of(&frames, tb_stream_hash(stream), 1, 1 + chance() % 5, 1, 10); break;
	case 10: tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_REJECT, .count = 1, .stream = chance() }); break;
	default: tb_frame_write(&frames, &(tb_frame){ .kind = (uint16_t)(20 + chance() % 5), .count = 1 }); break;
	}
	if (i % 40 == 13)
		frames.size -= 1; /* cut short */
	put(socket, group, member, generation, lease, tb_buf_span(&frames), finished, i % 3 ? 0 : 4);
	tb_buf_drop(&frames);
}

/* Every kind as every group, under members and generations that are nobody's. */
static void puts_(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t member[16];
	for (unsigned i = 0; i < 6000; i++) {
		if (i % 100 == 0)
			chance_fill(member, sizeof(member));
		put_one(socket, i, i / 12 % 7, i % 7 ? member : NULL, i % 2 ? chance() % 5 : chance(),
		        i % 3 ? tb_stream_hash(victim) : i % 2 ? 0 : chance());
	}
}

/* What only the holder of a lease may put, under a guessed generation, by somebody else: none of it may be taken. */
static void forgeries(void)
{
	static const unsigned groups[] = { TB_GROUP_SIGNAL, TB_GROUP_COLLECTOR, TB_GROUP_COLLECTOR, TB_GROUP_STORER };
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t stranger[16], nobody[16] = { 0 };
	chance_fill(stranger, sizeof(stranger));
	for (unsigned i = 0; i < 4000; i++) {
		tb_buf frames = { 0 };
		switch (i % 4) {
		case 0: announce_frame(&frames, i / 4); break;
		case 1: cut_frame(&frames, i / 4, victim); break;
		case 2: manifest_frame(&frames, 0, victim, i / 4); break;
		default: stored_frame(&frames, 4 + i / 4 % 2 * 4, victim); break;
		}
		uint64_t stream = groups[i % 4] == TB_GROUP_COLLECTOR ? tb_stream_hash(victim) : 0;
		if (put(socket, groups[i % 4], i / 4 % 3 ? stranger : nobody, i / 12 % 5, stream, tb_buf_span(&frames), NULL, 0) == TB_OK)
			die("a forgery was taken");
		tb_buf_drop(&frames);
	}
}

static void orders(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	for (unsigned i = 0; i < 500; i++) {
		tb_buf frames = { 0 };
		order_frame(&frames, i, victim);
		put(socket, TB_GROUP_NONE, NULL, 0, 0, tb_buf_span(&frames), NULL, 0);
		tb_buf_drop(&frames);
	}
}

/* Thousands of workers that are none, each with its health. */
static void members(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t member[16];
	for (unsigned i = 0; i < 3000; i++) {
		tb_buf frames = { 0 };
		chance_fill(member, sizeof(member));
		health_frame(&frames, i | 1);
		put(socket, 1 + i % 4, member, 0, 0, tb_buf_span(&frames), NULL, 0);
		tb_buf_drop(&frames);
	}
}

/* ---- a sealer that answers with lies */

#define TAKES 1000 /* tries to get something */

/* As a worker that knows the period, and so waits until there is something. */
static uint8_t period_hash[32];
static int period_known;

static const Tb__TakeReply *take_as(nng_socket socket, unsigned group, const uint8_t *member, uint64_t generation,
                                    uint64_t turn, tb_arena *arena, tb_buf *answer, tb_span *ret_frames)
{
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	tb_buf request = { 0 };
	take.group = group;
	take.member = blob(member, 16);
	take.bytes_max = 1;
	take.wait_ms = 2000;
	take.generation = generation;
	take.turn = turn;
	take.period_known = blob(period_hash, period_known ? sizeof(period_hash) : 0);
	tb_control_write(&request, TB_KIND_TAKE, &take.base);
	unsigned code = ask(socket, tb_buf_span(&request), answer);
	tb_buf_drop(&request);
	ProtobufCMessage *message;
	tb_span rest = tb_buf_span(answer);
	if (code != TB_OK || tb_control_read(&rest, TB_KIND_ANSWER, &tb__take_reply__descriptor, arena, &message, NULL) != TB_OK)
		return nap(200), NULL; /* no room for one more member while other strangers are remembered */
	const Tb__TakeReply *reply = (const Tb__TakeReply *)message;
	if (reply->period.len > 0)
		crypto_generichash(period_hash, sizeof(period_hash), reply->period.data, reply->period.len, NULL, 0);
	if (reply->n_leased == 0)
		nap(20); /* nothing may wait while other strangers do */
	period_known |= reply->period.len > 0;
	*ret_frames = rest;
	return reply;
}

/* Takes what sealers get, until it has got something, and says that it is sealed as an object that nobody ever made. */
static void sealer(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t member[16], name[32];
	tb_arena *arena = tb_arena_new();
	tb_buf answer = { 0 };
	tb_span frames;
	uint64_t turn = 0;
	int lies = 0;
	chance_fill(member, sizeof(member));
	for (int i = 0; i < TAKES && lies < 1; i++) {
		const Tb__TakeReply *reply = take_as(socket, TB_GROUP_SEALER, member, 0, turn, arena, &answer, &frames);
		for (size_t j = 0; reply != NULL && j < reply->n_leased; j++) {
			tb_frame frame;
			if (tb_frame_read(&frames, &frame, NULL) != TB_OK || frame.kind != TB_KIND_CUT)
				continue;
			Tb__Cut *cut = tb__cut__unpack(tb_arena_allocator(arena), frame.body.size, frame.body.data);
			Tb__Sealed sealed = TB__SEALED__INIT;
			tb_buf frames_of_lies = { 0 };
			lies++;
			chance_fill(name, sizeof(name));
			sealed.name = blob(name, 32);
			sealed.from = cut->from;
			sealed.to = cut->to;
			sealed.size_plain = sealed.size_stored = 1;
			if (lies % 2)
				object_frame(&frames_of_lies, 100);
			frame_of(&frames_of_lies, (tb_frame){ .kind = TB_KIND_SEALED, .stream = frame.stream, .first = frame.first }, &sealed.base);
			put(socket, TB_GROUP_SEALER, member, 0, 0, tb_buf_span(&frames_of_lies), &reply->leased[j]->id, 1);
			tb_buf_drop(&frames_of_lies);
		}
		if (reply != NULL)
			turn = reply->turn;
		tb_arena_reset(arena);
	}
	if (lies == 0)
		die("there was nothing to lie about");
	tb_buf_drop(&answer);
	tb_arena_free(arena);
}

/* Takes what sealers get, and never gives it back. */
static void hoarder(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t member[16];
	tb_arena *arena = tb_arena_new();
	tb_buf answer = { 0 };
	tb_span frames;
	uint64_t turn = 0;
	chance_fill(member, sizeof(member));
	size_t hoarded = 0;
	for (int i = 0; i < TAKES && hoarded < 4; i++) {
		const Tb__TakeReply *reply = take_as(socket, TB_GROUP_SEALER, member, 0, turn, arena, &answer, &frames);
		if (reply != NULL)
			turn = reply->turn;
		hoarded += reply != NULL ? reply->n_leased : 0;
		tb_arena_reset(arena);
	}
	if (hoarded == 0)
		die("there was nothing to hoard");
	tb_buf_drop(&answer);
	tb_arena_free(arena);
}

/* ---- hellos */

static void hellos(void)
{
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t outbox[16];
	char *text = long_text(MIB);
	for (int i = 0; i < HELLOS; i++) {
		Tb__HelloRequest hello = TB__HELLO_REQUEST__INIT;
		char name[64];
		snprintf(name, sizeof(name), "stranger-%d", i);
		chance_fill(outbox, sizeof(outbox));
		hello.stream = i % 50 == 49 ? text : name;
		hello.outbox = blob(outbox, 16);
		hello.renewal = blob(outbox, 16);
		hello.take_over = 1;
		ask_message(socket, TB_KIND_HELLO, &hello.base, (tb_span){ 0 });
	}
	free(text);
}

/* Names and numbers that can't be. */
static void impostors(void)
{
	static const char *const streams[] = { "tb.signals", "tb.", "", "..", "a/b", "\xff\xfe", "." };
	nng_socket socket = dial(nng_req0_open, "broker");
	uint8_t outbox[16];
	for (int i = 0; i < 2000; i++) {
		Tb__HelloRequest hello = TB__HELLO_REQUEST__INIT;
		chance_fill(outbox, sizeof(outbox));
		hello.stream = say(i % 2 ? streams[i % 7] : victim);
		hello.outbox = blob(outbox, i % 2 ? 16 : chance() % 15);
		hello.renewal = blob(outbox, i % 4 ? 16 : chance() % 15);
		hello.shift = i % 5 ? 0 : chance();
		hello.ground = i % 7 ? 0 : chance();
		hello.epoch = i % 3 ? UINT64_MAX : chance();
		hello.first = chance();
		hello.last = i % 3 ? UINT64_MAX : 0;
		ask_message(socket, TB_KIND_HELLO, &hello.base, (tb_span){ 0 });
	}
}

/* ---- the signals' questions */

static void questions(void)
{
	nng_socket socket = dial(nng_req0_open, "signals");
	uint8_t *bytes = tb_alloc_zero(1, MIB);
	static const char *const texts[] = {
		"{}", "[", "{\"since\":-1}", "{\"since\":18446744073709551616}", "{\"topic\":7}", "null", "{\"limit\":1e300}",
		"{\"backup\":\"%s\"}", "{\"wait_ms\":-5}", "{\"stream\":\"\\u0000\"}", "{\"a\":1,\"a\":2}",
	};
	for (int i = 0; i < 5000; i++) {
		tb_span text = tb_span_text(texts[i % 11]);
		if (i % 2) {
			size_t size = i % 500 == 1 ? MIB : chance() % 5000;
			chance_fill(bytes, size < 100 ? size : 100);
			if (i % 5 == 1)
				memset(bytes, '[', size);
			text = tb_span_of(bytes, size);
		}
		ask(socket, text, NULL);
	}
	free(bytes);
}

/* Thousands that wait. */
static void listeners(void)
{
	enum { COUNT = 1500 };
	static nng_socket sockets[COUNT];
	for (int i = 0; i < COUNT; i++) {
		sockets[i] = dial(nng_req0_open, "signals");
		send_bytes(sockets[i], tb_span_text("{\"stream\":\"nobody\",\"wait_ms\":60000}"));
	}
	nap(3000);
}

static const struct {
	const char *name;
	void (*run)(void);
} attacks[] = {
	{ "garbage", garbage },     { "lengths", lengths },   { "kinds", kinds },         { "numbers", numbers },
	{ "epochs", epochs },       { "flood", flood },       { "large", large },         { "silent", silent },
	{ "fleeting", fleeting },   { "peers", peers },       { "halves", halves },       { "requests", requests },
	{ "takes", takes },         { "waits", waits },       { "fetches", fetches },     { "puts", puts_ },
	{ "forgeries", forgeries }, { "orders", orders },     { "members", members },     { "sealer", sealer },
	{ "hoarder", hoarder },     { "hellos", hellos },     { "impostors", impostors }, { "questions", questions },
	{ "listeners", listeners }, { "burdens", burdens },
};

int main(int argc, char **argv)
{
	struct rlimit files;
	if (argc < 3 || sodium_init() < 0)
		die("usage: hostile ATTACK DIR [STREAM]");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	dir = argv[2];
	victim = argc > 3 ? argv[3] : "victim";
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (strcmp(attacks[i].name, argv[1]) != 0)
			continue;
		attacks[i].run();
		printf("{\"attack\":\"%s\",\"sent\":%llu,\"refused\":%llu,\"answered\":%llu}\n", attacks[i].name,
		       (unsigned long long)sent, (unsigned long long)refused, (unsigned long long)granted);
		fflush(stdout);
		_exit(0); /* as a stranger would: no connection is taken leave of */
	}
	die("no such attack");
}
