/*
 * Whether one of two flows passes, and since when.
 *
 * Their frames are sent in turns, so the other flow tells that one of them is missing from one that is late: whatever
 * keeps frames back keeps both back.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "die.h"

#define NAP_US 100
#define LATE_US 200
#define MISSING 3u /* frames of the other flow in a row */

static struct {
	int is_gone;
	unsigned others; /* frames of the other flow since its last one */
	uint64_t missed_ns; /* when the first of these came */
} watched = {.is_gone = 1};

/* Whoever watches runs whenever it wants to: what it sees is not late then by others' time slices. */
static void be_urgent(void)
{
	struct sched_param lowest = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_FIFO, &lowest))
		die("no real-time priority: %s\n", strerror(errno));
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Sleeps, and tells where it was woken late: something held the CPU up that no priority helps against, the host or the kernel. */
static void nap(void)
{
	uint64_t due = monotonic_ns() + NAP_US * 1000, now;

	usleep(NAP_US);
	now = monotonic_ns();
	if (now > due + LATE_US * 1000) {
		printf("held %" PRIu64 " %" PRIu64 "\n", due, now);
		fflush(stdout);
	}
}

static void tell_change(const char *what, uint64_t ns)
{
	printf("%s %" PRIu64 "\n", what, ns);
	fflush(stdout);
}

/* A frame arrived, of the watched flow or of the other one. */
static void watch(int is_watched)
{
	uint64_t now = monotonic_ns();

	if (is_watched) {
		if (watched.is_gone)
			tell_change("passes", now);
		watched.is_gone = watched.others = 0;
		return;
	}
	if (!watched.others++)
		watched.missed_ns = now;
	if (watched.others == MISSING && !watched.is_gone) {
		watched.is_gone = 1;
		tell_change("gone", watched.missed_ns);
	}
}
