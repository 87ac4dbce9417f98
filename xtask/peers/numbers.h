/*
 * Numbers of frames as they arrive: which came twice, and which were overtaken.
 *
 * Numbers are given to the frames of a sender one by one, to its flows in turns: those that are `flows` apart are of
 * one flow. Order counts within a flow only, since a switch may well send flows on different ways.
 */
#include <stdint.h>
#include <string.h>

#define WINDOW 65536u /* numbers remembered: more than can be under way */

struct numbers {
	uint32_t newest;
	uint64_t seen[WINDOW / 64];
};

enum arrival { IN_ORDER, REORDERED, DUPLICATED };

static void mark(struct numbers *all, uint32_t n) { all->seen[n % WINDOW / 64] |= 1ull << n % 64; }

static void unmark(struct numbers *all, uint32_t n) { all->seen[n % WINDOW / 64] &= ~(1ull << n % 64); }

static int is_marked(const struct numbers *all, uint32_t n) { return all->seen[n % WINDOW / 64] >> n % 64 & 1; }

/* Makes `n`, which lies ahead, the newest: what lies between was not seen. */
static void advance(struct numbers *all, uint32_t n)
{
	if (n - all->newest > WINDOW)
		memset(all->seen, 0, sizeof all->seen);
	else
		for (uint32_t between = all->newest + 1; between != n; between++)
			unmark(all, between);
	all->newest = n;
}

/* Whether a later frame of the same flow was seen. */
static int is_overtaken(const struct numbers *all, uint32_t n, uint32_t flows)
{
	for (uint32_t ahead = flows; ahead <= all->newest - n; ahead += flows)
		if (is_marked(all, n + ahead))
			return 1;
	return 0;
}

/* Of numbers older than the window nothing is known any more; they count as reordered. */
static enum arrival take_number(struct numbers *all, uint32_t n, uint32_t flows)
{
	uint32_t behind = all->newest - n;
	enum arrival arrival = IN_ORDER;

	if (behind >= 1u << 31)
		advance(all, n);
	else if (behind >= WINDOW)
		return REORDERED;
	else if (is_marked(all, n))
		return DUPLICATED;
	else if (is_overtaken(all, n, flows))
		arrival = REORDERED;
	mark(all, n);
	return arrival;
}
