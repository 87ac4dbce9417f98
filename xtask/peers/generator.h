/*
 * What makes a generator: how long it sends, what is counted meanwhile, and the line of JSON that it prints. A program adds
 * how frames are sent and taken (`send_burst`, `take_turn`).
 *
 * vNIC 0 sends to 1, 2 to 3 and so on; with --both-ways 1 sends to 0, too. One thread does all of it: in each
 * turn it sends a burst from every sender and takes up to two from every receiver, so that no backlog stays. Nothing is lost
 * on this side.
 *
 * The result is a line of JSON. What limits it: `idle` is the share of time of turns in which no frame was
 * there to be taken, nor room to send one; `blocked` is the share of bursts that a ring had not enough room for;
 * `ceiling_mpps` is the rate of those turns in which it sent full bursts and took as much, so what this program
 * could do with a switch that never makes it wait (0 if there were none). `kernel` is the share of time of system
 * calls, of which it makes none but to notify a switch that wants it. `waited` is the share of time in which
 * something else ran on this CPU: on a machine with other work the figures are worth nothing.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>
#include "die.h"
#include "latency.h"
#include "numbers.h"
#include "thread.h"

#define MAX_VNICS 16
#define FCS 4
#define LARGEST_FRAME 9018u
#define SILENCE_MS 200
#define GREETING_LIMIT_S 10
#define GREETING_PAUSE_US 5000

struct counts {
	uint64_t sent, arrived, taken, bursts, blocked;
	uint64_t foreign, misdelivered, reordered, duplicated, corrupt;
};

/* What a vNIC sent and got. */
struct traffic {
	uint32_t next, first; /* numbers: of the next frame it makes, and of the first that counts of those it gets */
	unsigned unsent; /* frames that are made and wait for room */
	unsigned source; /* which of its addresses is next */
	struct counts counts;
	struct numbers numbers; /* of the frames that it got */
};

static unsigned size = 64, burst = 32, macs = 1;
static double seconds = 2, warmup = 0.5, verify = 0.5;
static uint64_t rate;
static int both_ways;

static volatile sig_atomic_t stop;
static unsigned vnics, frame_len;
static struct traffic traffic[MAX_VNICS];
static uint64_t hz; /* cycles a second */
static uint64_t idle_cycles, full_cycles, full_turns;

/* Sends up to `n` frames of a vNIC, first of all those that are unsent; returns how many went. */
static unsigned send_burst(unsigned v, unsigned n, uint64_t now, int whole);

/* Takes what has come to all vNICs; returns how many frames. */
static unsigned take_turn(int whole);

/* Where there was nothing to do. */
static void rest(void);

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static int sends(unsigned v) { return both_ways || v % 2 == 0; }

static unsigned senders(void) { return both_ways ? vnics : vnics / 2; }

static int receives(unsigned v) { return sends(v ^ 1); }

/* --- options --- */

#define COMMON_OPTIONS \
	{"size", 1, 0, 's'}, {"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'w'}, {"verify", 1, 0, 'v'}, \
	{"both-ways", 0, 0, 'b'}, {"macs", 1, 0, 'm'}, {"burst", 1, 0, 'n'}, {"rate", 1, 0, 'r'}

static void take_option(int option)
{
	switch (option) {
	case 's': size = atoi(optarg); break;
	case 't': seconds = atof(optarg); break;
	case 'w': warmup = atof(optarg); break;
	case 'v': verify = atof(optarg); break;
	case 'b': both_ways = 1; break;
	case 'm': macs = atoi(optarg); break;
	case 'n': burst = atoi(optarg); break;
	case 'r': rate = strtoull(optarg, 0, 10); break;
	default: die("the options are at the head of the program's source\n");
	}
}

static void check_options(unsigned largest, unsigned max_burst)
{
	if (size < 64 || size > largest || burst < 1 || burst > max_burst || macs < 1 || seconds <= 0)
		die("--size is 64 to %u, --burst 1 to %u, --macs at least 1, --seconds above 0\n", largest, max_burst);
}

static void check_vnics(void)
{
	if (vnics < 2 || vnics > MAX_VNICS || vnics % 2)
		die("%u vNICs: it takes an even number, 2 to %d\n", vnics, MAX_VNICS);
}

static void begin_traffic(uint64_t cycles_a_second)
{
	hz = cycles_a_second;
	set_latency_clock(hz);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	for (unsigned v = 0; v < vnics; v++) {
		traffic[v].next = 1;
		traffic[v].source = 1 % macs;
	}
}

/* --- frames that come --- */

/* Which of its addresses a vNIC sends its next frame from. */
static inline unsigned next_source(struct traffic *me)
{
	unsigned source = me->source;

	me->source = source + 1 == macs ? 0 : source + 1;
	return source;
}

/* Counts a frame that came to the right place; whether its bytes are to be checked. */
static inline int count_frame(struct traffic *me, uint32_t number, uint32_t turns, int whole)
{
	enum arrival arrival = take_number(&me->numbers, number, turns);
	int is_new = (int32_t)(number - me->first) >= 0;

	me->counts.duplicated += arrival == DUPLICATED;
	me->counts.reordered += arrival == REORDERED;
	me->counts.arrived += arrival != DUPLICATED && is_new;
	/* A straggler of the phase before was not written whole. */
	return whole && is_new;
}

/* --- phases --- */

/* Sends and takes until `end`. */
static void run_until(uint64_t end, int whole)
{
	uint64_t pause = rate && !whole ? hz * burst / rate : 0, due = __rdtsc();

	while (!stop) {
		uint64_t now = __rdtsc();
		unsigned sent = 0, taken;
		if (now >= end)
			return;
		if (!pause || now >= due) {
			due = now > due + hz / 100 ? now + pause : due + pause;
			for (unsigned v = 0; v < vnics; v++)
				if (sends(v))
					sent += send_burst(v, burst, now, whole);
		}
		taken = take_turn(whole);
		if (!sent && !taken) {
			rest();
			idle_cycles += __rdtsc() - now;
		}
		if (sent == burst * senders() && taken >= sent) {
			full_cycles += __rdtsc() - now;
			full_turns++;
		}
	}
}

static struct counts sum(void)
{
	struct counts all = {0};

	for (unsigned v = 0; v < vnics; v++) {
		const uint64_t *one = (void *)&traffic[v].counts;
		for (unsigned i = 0; i < sizeof all / sizeof *one; i++)
			((uint64_t *)&all)[i] += one[i];
	}
	return all;
}

/* Sends what waits, and takes until all have arrived, or nothing has come for so long that the rest is lost. */
static void drain(int whole)
{
	uint64_t heard = __rdtsc();

	while (!stop && __rdtsc() - heard < hz / 1000 * SILENCE_MS) {
		struct counts all = sum();
		unsigned moved = take_turn(whole);
		for (unsigned v = 0; v < vnics; v++)
			if (traffic[v].unsent)
				moved += send_burst(v, burst, heard, whole);
		if (moved)
			heard = __rdtsc();
		else if (all.arrived == all.sent)
			return;
	}
}

/* What is counted begins here: numbers sent from now on are expected, and nothing was seen of anything. */
static void begin_counting(void)
{
	for (unsigned v = 0; v < vnics; v++) {
		struct traffic *from = &traffic[v], *to = &traffic[v ^ 1];
		to->first = from->next - from->unsent;
		from->counts.sent = from->counts.bursts = from->counts.blocked = 0;
		to->counts.arrived = to->counts.taken = 0;
	}
	memset(latency, 0, sizeof latency);
	idle_cycles = full_cycles = full_turns = 0;
}

static int all_have_heard(void)
{
	for (unsigned v = 0; v < vnics; v++)
		if (receives(v) && !traffic[v].counts.arrived)
			return 0;
	return 1;
}

/* One frame at a time, until every vNIC that gets any has heard from its peer. */
static void greet(int all)
{
	uint64_t limit = __rdtsc() + GREETING_LIMIT_S * hz;
	int both = both_ways;

	both_ways = all;
	while (!stop && !all_have_heard()) {
		if (__rdtsc() > limit)
			die("a vNIC has heard nothing from its peer for %d s\n", GREETING_LIMIT_S);
		for (unsigned v = 0; v < vnics; v++)
			if (sends(v))
				send_burst(v, 1, __rdtsc(), 0);
		usleep(GREETING_PAUSE_US);
		take_turn(0);
	}
	drain(0);
	both_ways = both;
	/* Greetings may be flooded, and lost while ports come up. */
	for (unsigned v = 0; v < vnics; v++)
		traffic[v].counts = (struct counts){0};
}

/* --- the result --- */

/* Prints what was measured; the braces are closed by `report_verified`. */
static void measure(void)
{
	struct counts timed, all;
	double idle, ceiling, loss, waited, kernel;

	run_until(__rdtsc() + warmup * hz, 0);
	begin_counting();
	waited = waited_for_cpu();
	kernel = kernel_seconds();
	run_until(__rdtsc() + seconds * hz, 0);
	waited = (waited_for_cpu() - waited) / seconds;
	kernel = (kernel_seconds() - kernel) / seconds;
	timed = sum();
	idle = idle_cycles / (seconds * hz);
	ceiling = full_cycles ? (double)full_turns * burst * senders() * hz / full_cycles / 1e6 : 0;
	drain(0);
	all = sum();
	loss = 1 - (double)all.arrived / (all.sent ? all.sent : 1);
	printf("{\"size\":%u,\"seconds\":%g,\"tx_mpps\":%.4f,\"rx_mpps\":%.4f,\"rx_gbps\":%.3f,\"loss\":%.8f,",
	       size, seconds, timed.sent / 1e6 / seconds, timed.taken / 1e6 / seconds,
	       timed.taken / 1e9 / seconds * frame_len * 8, loss);
	printf("\"p50_us\":%.2f,\"p99_us\":%.2f,\"idle\":%.4f,\"blocked\":%.4f,\"ceiling_mpps\":%.4f,"
	       "\"waited\":%.4f,\"kernel\":%.4f,",
	       quantile(.5), quantile(.99), idle, (double)timed.blocked / (timed.bursts ? timed.bursts : 1),
	       ceiling, waited, kernel);
}

static void report_verified(void)
{
	struct counts all;

	begin_counting();
	run_until(__rdtsc() + verify * hz, 1);
	drain(1);
	all = sum();
	if (stop)
		die("interrupted\n");
	printf("\"verified\":%" PRIu64 ",\"verified_of\":%" PRIu64 ",\"corrupt\":%" PRIu64
	       ",\"misdelivered\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"duplicated\":%" PRIu64
	       ",\"foreign\":%" PRIu64 "}\n",
	       all.arrived, all.sent, all.corrupt, all.misdelivered, all.reordered, all.duplicated,
	       all.foreign);
	fflush(stdout);
}
