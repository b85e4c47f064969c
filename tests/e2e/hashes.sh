#!/usr/bin/env bash
# An event is its place in its stream, never a clock or its content; and anyone can recompute its hashes, in any
# language, from what `tb events --json` prints: tests/golden/canonical.py does.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

publish() # STREAM, lines on stdin
{
	tb publish --dir "$work/tb" --engine "$1" --wait stored
}

events() # STREAM
{
	tb events --dir "$work/tb" --stream "$1" --json
}

hashes_hold() # STREAM [--kinds LIST]
{
	events "$1" >"$work/$1.events" && "$root/tests/golden/canonical.py" "$work/$1.events" "${@:2}"
}

sixteen()
{
	local i
	for ((i = 0; i < 16; i++)); do
		echo '{"time_ns":1700000000000000001,"ghost":{"event_type":"ghost_trigger","trigger":"price_spike","pair":"BTC→ETH","bit_phase":4,"outcome":"+0.5"}}'
	done | publish sixteen
	events sixteen >"$work/sixteen.events" || return
	same "$(json number <<<"$(tail -n 1 "$work/sixteen.events")")" 16 &&
		same "$(lines "$work/sixteen.events")" 16 &&
		same "$(distinct sixteen time_ns)" 1 &&
		same "$(distinct sixteen number)" 16 &&
		same "$(distinct sixteen backup_hash)" 1
}

distinct() # STREAM FIELD
{
	python3 -c 'import json, sys; print(len({json.loads(line)[sys.argv[2]] for line in open(sys.argv[1])}))' \
		"$work/$1.events" "$2"
}

kinds()
{
	publish kinds <<'LINES'
{"time_ns":1723161253937085768,"mode":"live","source":"desk","priority":3,"tags":["a","→"],"metadata":{"z":"1","é":"2","a":""},"ghost":{"event_type":"ghost_trigger","trigger":"price_spike","pair":"BTC->ETH","bit_phase":4,"outcome":"+0.5","confidence":0.8}}
{"ghost":{"event_type":"ghost_trigger","trigger":"volume_surge","pair":"BTC→ETH","bit_phase":4}}
{"mode":"shadow","orbit":{"orbit_type":"orbit_cycle","pairs":["BTC→ETH","ETH→USDC"],"bit_phase":8,"confidence":0.7,"outcome":{"success":true,"profit":0.01,"volume":1.0}}}
{"orbit":{"orbit_type":"multi_layer_cycle","pairs":["BTC→ETH"],"bit_phase":16,"outcome":{"success":false,"profit":-0.0,"volume":1e300,"efficiency":0.1},"performance_score":3.5}}
{"orbit":{"orbit_type":"weight_update","pairs":["BTC→ETH"],"bit_phase":42}}
{"flip":{"flip_type":"bit_flip","pair":"BTC→USDC","bit_phase":8,"flip_value":0,"flip_pattern":"11111111->00000000","confidence":0.9}}
{"flip":{"flip_type":"bit_flip","pair":"BTC→USDC","bit_phase":4,"flip_value":10}}
{"flip":{"flip_type":"pair_flip","pair":"BTC→USDC","bit_phase":32,"flip_value":1,"outcome":{"profit":0}}}
{"flip":{"flip_type":"memory_update","pair":"BTC→USDC","bit_phase":42,"flip_value":4398046511103}}
{"delta":{"key":"position:BTC","value":"0.50"}}
{"delta":{"key":"order:17","op":"delete"}}
{"delta":{"key":"blob","value_b64":"AAEC/w==","category":"cold"}}
{"delta":{"key":"empty","value":""}}
{"delta":{"key_b64":"/wA=","value":"a key that is no text"}}
{"bar":{"symbol":"USDCOP","open":"4321.5","high":"4322","low":"4321","close":"4321.9","volume":"0","price_source":"live"}}
{"bar":{"symbol":"USDCOP","price":"4321.50","price_source":"cached"}}
{"opaque":{"source":"kraken","data":"[\"a\u0001\\\",\u2192]"}}
{"opaque":{"source":"kraken","data_b64":"/w=="}}
LINES
}

# What was left out stands there with its default.
defaults_are_filled_in()
{
	hashes_hold kinds || return
	python3 - "$work/kinds.events" <<'SCRIPT'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
wanted = [("ghost", 0, "pair", "BTC→ETH"), ("ghost", 1, "confidence", 0.5), ("orbit", 3, "confidence", 0.7),
          ("orbit", 4, "confidence", 0.8), ("flip", 6, "flip_pattern", "0101->1010"), ("flip", 7, "confidence", 0.9),
          ("flip", 8, "confidence", 0.8)]
wrong = [(one, events[one[1]]) for one in wanted if events[one[1]][one[0]][one[2]] != one[3]]
sys.exit("not so: %r" % wrong if wrong else 0)
SCRIPT
}

engines()
{
	local engine
	for engine in ghost orbit flip; do
		"$engine-engine" --dir "$work/tb" --seed 7 --events 500 || return
	done
}

recording() # NAME MODE FILE
{
	"$shared/tools/recording-to-events" "$2" "$3" --limit 3000 | publish "$1" && hashes_hold "$1"
}

signals()
{
	tb backup --dir "$work/tb" --type full --stream kinds --wait && hashes_hold tb.signals --kinds signal
}

claim "an instance starts" up "$work/tb"
claim "16 equal events of one nanosecond are 16 events" sixteen
claim "events of every kind are published" kinds
claim "their hashes can be recomputed" hashes_hold kinds --kinds ghost,orbit,flip,delta,bar,opaque
claim "defaults stand in the event, so that they are hashed, too" defaults_are_filled_in
claim "the example engines publish" engines
for name in ghost orbit flip; do
	claim "the $name engine's hashes can be recomputed" hashes_hold "$name" --kinds "$name,delta"
done
claim "so can those of signals" signals
if [ -d "$shared/data" ]; then
	claim "a book's hashes can be recomputed" recording book book "$shared/data/book/binance_spot_btcusdt.jsonl.zst"
	claim "a feed's hashes can be recomputed" recording feed ws "$shared/data/ws/KRAKEN.jsonl.zst"
	claim "bars' hashes can be recomputed" recording bars bars "$shared/data/usdcop/usdcop_m5_2020_2022.csv.zst"
	claim "an audit log's hashes can be recomputed" recording audit audit "$shared/data/engine/icw_audit_events.jsonl.zst"
else
	skip 4 "hashes of recordings can be recomputed" "no recordings in $shared (TB_SHARED)"
fi
claim "it ends" down "$work/tb"
end
