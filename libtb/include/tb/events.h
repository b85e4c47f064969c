/* Events as an engine writes and reads them.
 *
 * All texts and bytes are borrowed: the library copies what it needs before a call returns. Rules and defaults are
 * those of the event's kind; tb_event_default fills them in. */
#ifndef TB_EVENTS_H
#define TB_EVENTS_H

#include "tb/errors.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TB_KEY_MAX 480u                   /* bytes of a state key */
#define TB_VALUE_MAX (16u * 1024 * 1024)  /* bytes of a state value */
#define TB_TAGS_MAX 64u
#define TB_METADATA_MAX 256u
#define TB_PAIRS_MAX 1024u
#define TB_PAIR_MAX 256u                  /* bytes of a pair: with kind and phase it is a key of the memory banks */
#define TB_TEXT_MAX 65536u                /* bytes of any other text */
#define TB_DELTAS_MAX 65536u

#define TB_CONFIDENCE_DEFAULT (-1.0)      /* the default of the event's type is filled in */

/* Numbers are the field numbers of Event.body in proto/events.proto. */
typedef enum tb_event_kind {
	TB_EVENT_NONE = 0,
	TB_EVENT_GHOST = 10,
	TB_EVENT_ORBIT = 11,
	TB_EVENT_FLIP = 12,
	TB_EVENT_DELTA = 13,
	TB_EVENT_BAR = 14,
	TB_EVENT_OPAQUE = 15,
	TB_EVENT_DELTAS = 16,
	TB_EVENT_RESET = 17,
	TB_EVENT_LOST = 18,
	TB_EVENT_SIGNAL = 19
} tb_event_kind;

typedef struct tb_bytes {
	const void *data;
	size_t size;
} tb_bytes;

typedef struct tb_meta {
	const char *key;
	const char *value;
} tb_meta;

enum tb_outcome_has { TB_HAS_SUCCESS = 1, TB_HAS_PROFIT = 2, TB_HAS_VOLUME = 4, TB_HAS_EFFICIENCY = 8 };

typedef struct tb_outcome {
	unsigned has; /* bits of tb_outcome_has; 0: no outcome */
	int success;
	double profit;
	double volume;
	double efficiency;
} tb_outcome;

typedef struct tb_ghost {
	const char *event_type; /* "ghost_trigger" */
	const char *trigger;
	const char *pair; /* "BTC→ETH"; "BTC->ETH" means the same and is stored as the first */
	uint32_t bit_phase; /* 4, 8, 16, 32 or 42 */
	const char *outcome; /* NULL: none yet; "+0.5" is a success */
	double confidence; /* 0..1, default 0.5 */
} tb_ghost;

typedef struct tb_orbit {
	const char *orbit_type; /* "multi_layer_cycle", "orbit_cycle", "weight_update" */
	const char *const *pairs;
	size_t pair_count;
	uint32_t bit_phase;
	double confidence; /* default 0.7, of a weight_update 0.8 */
	tb_outcome outcome;
	int has_performance_score;
	double performance_score;
} tb_orbit;

typedef struct tb_flip {
	const char *flip_type; /* "bit_flip", "pair_flip", "memory_update" */
	const char *pair;
	uint32_t bit_phase;
	uint64_t flip_value; /* of a bit_flip what the flip gave, in bit_phase bits: 0 of 11111111->00000000 */
	const char *flip_pattern; /* NULL: of a bit_flip it is computed: complement of flip_value -> flip_value */
	double confidence; /* default 0.9, of a memory_update 0.8 */
	tb_outcome outcome;
} tb_flip;

typedef struct tb_delta {
	tb_bytes key; /* 1..TB_KEY_MAX bytes */
	int remove; /* delete the key; else put the value */
	tb_bytes value; /* any bytes, also none */
	const char *category; /* "hot", "warm", "cold", or NULL */
} tb_delta;

typedef struct tb_bar {
	const char *symbol, *open, *high, *low, *close, *volume; /* numbers are text and stay byte for byte */
	const char *price; /* of a tick; bars leave it NULL */
	const char *price_source; /* "live", "cached", "static" (never accepted) */
} tb_bar;

typedef struct tb_opaque {
	const char *source;
	tb_bytes data;
} tb_opaque;

typedef struct tb_event {
	uint64_t time_ns; /* the engine's clock; 0: now */
	const char *mode; /* NULL or "live", "paper", "backtest", … */
	const char *source;
	uint32_t priority; /* 0..3, 3 = highest */
	const char *const *tags;
	size_t tag_count;
	const tb_meta *metadata;
	size_t metadata_count;
	tb_event_kind kind;
	union {
		tb_ghost ghost;
		tb_orbit orbit;
		tb_flip flip;
		tb_delta delta;
		tb_bar bar;
		tb_opaque opaque;
		struct {
			const tb_delta *items;
			size_t count;
		} deltas;
		struct {
			int commit; /* else begin */
		} reset;
		struct {
			uint64_t from, to;
		} lost;
		struct {
			const char *type, *stream;
			tb_bytes record;
		} signal;
	} body;
} tb_event;

/* An event of that kind, everything else at its default (TB_CONFIDENCE_DEFAULT: it is set by type when the event is
 * packed). */
void tb_event_default(tb_event *event, tb_event_kind kind);

/* The flip_pattern of a bit flip: value in `bits` binary digits, "->", its complement. */
#define TB_FLIP_PATTERN_MAX 136
tb_rc tb_flip_pattern(char out[TB_FLIP_PATTERN_MAX], uint64_t value, uint32_t bits, tb_err *err);

/* The legal bit phase for a volatility: <0.1 4, <0.2 8, <0.3 16, <0.4 32, else 42. */
uint32_t tb_bit_phase_of_volatility(double volatility);
int tb_bit_phase_legal(uint32_t bit_phase);
/* The value of a phase (4, 8, 42) from a 64-digit hash, and of 4, 8, 32, 42 from an id. TB_EINVAL for others. */
tb_rc tb_bit_phase_of_hash(const char *hex, uint32_t bit_phase, uint64_t *ret_value, tb_err *err);
tb_rc tb_bit_phase_of_id(uint64_t id, uint32_t bit_phase, uint64_t *ret_value, tb_err *err);

#ifdef __cplusplus
}
#endif
#endif
