/*
 * How long frames took.
 */
#include <stdint.h>

#define LATENCY_BUCKETS 65536 /* of a quarter microsecond */

static uint32_t latency[LATENCY_BUCKETS];
static uint64_t quarter_us; /* quarter microseconds a cycle, times 2^32 */

static void set_latency_clock(uint64_t hz) { quarter_us = ((unsigned __int128)4000000 << 32) / hz; }

static void note_latency(uint64_t cycles)
{
	uint64_t waited = (unsigned __int128)cycles * quarter_us >> 32;

	latency[waited < LATENCY_BUCKETS ? waited : LATENCY_BUCKETS - 1]++;
}

/* In microseconds. */
static double quantile(double q)
{
	uint64_t all = 0, below = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		all += latency[i];
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		if (all && (below += latency[i]) >= q * all)
			return (i + 1) / 4.0;
	return 0;
}
