/*
 * ringgen: the vNICs of a benchmark, on a driver of its own that costs as little as a driver can (rings.h).
 *
 *   ringgen --cpu 1 --vnic MAC,SOCKET --vnic MAC,SOCKET ... --size 64 --seconds 2 [--packed] [--warmup 0.5]
 *           [--verify 0.5] [--both-ways] [--macs 1] [--burst 32] [--rate FRAMES-A-SECOND] [--flows 1] [--tcp]
 *           [--fresh] [--watch]
 *
 * What it does with them is in generator.h. It sends a burst as far as there is room in its ring. Frames are of UDP, or of
 * TCP, in as many flows as wanted (flows.h); with --fresh each of them begins a flow: so --flows is to be more than are sent,
 * and those of TCP are SYNs. With --watch and two flows it prints when the second one is gone and when it passes again, as
 * nanoseconds of CLOCK_MONOTONIC, and leaves its CPU to others between two bursts, from whom it has it back at once. Where
 * it has not it prints since when and until when.
 *
 * Phases:
 *   greeting   one frame at a time, until every vNIC has heard from its peer: all is connected and learnt;
 *   opening    where there are several flows and they are to be there already: one frame of each there and one back,
 *              or the handshake of each;
 *   measuring  after a warm-up that is not counted. Every frame carries its sender and a number, so that rate, loss,
 *              and frames that are misdelivered, reordered or duplicated are told; and the time. How long it took
 *              is noted of all frames where a rate is asked for, else of one in each burst (not of TCP). Bytes of a frame
 *              that do not differ from those that lay there before are not written again, and those behind the number not read: for
 *              then the generator would be measured;
 *   verifying  as fast as that goes, with every byte of every frame written and checked.
 *
 * Sizes count the FCS, as is usual. Segments are for vnicgen.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <time.h>
#include "flows.h"
#include "frontend.h"
#include "generator.h"
#include "pattern.h"
#include "rings.h"
#include "watch.h"

#define MAX_BURST 256u
#define MAGIC 0x76u
#define OPENING_LIMIT_S 1
#define AHEAD 8u /* buffers that are fetched before they are looked at */

/* Behind the header. Of TCP only the first SEGMENT bytes. */
struct stamp {
	uint8_t magic, from;
	uint32_t number;
	uint64_t tsc;
} __attribute__((packed));

struct vnic {
	uint8_t mac[ADDRESS];
	const char *socket;
	char header[LONGEST_HEADER]; /* of the frames it sends */
	struct walk walk; /* where it is among its flows */
	struct ring receive, send;
};

static unsigned flows = 1, cpu = 1;
static int is_packed, is_tcp, is_fresh, is_watching;
static int is_carrying; /* all that goes before is done */

static unsigned stamp_at, payload_at; /* in a frame */
static struct vnic vnic[MAX_VNICS];

/* --- the bytes of frames --- */

/* 02:10+vNIC:xx:xx:xx:xx, clear of the vNICs' own. */
static void put_source(uint8_t *at, unsigned from, unsigned k)
{
	if (macs == 1)
		memcpy(at, vnic[from].mac, ADDRESS);
	else
		memcpy(at, (uint8_t[]){0x02, 0x10 + from, k >> 24, k >> 16, k >> 8, k}, ADDRESS);
}

/* --- sending --- */

/* Has all frames that a vNIC sends from now on begin so. */
static void prepare(unsigned v, enum stage stage)
{
	struct vnic *me = &vnic[v];

	put_header(me->header, v, me->mac, vnic[v ^ 1].mac, stage, is_tcp, frame_len);
	for (unsigned n = 0; n < RING; n++)
		memcpy(frame_of(&me->send, n), me->header, stamp_at);
}

static inline void put_stamp(char *frame, unsigned from, uint32_t number, uint64_t now)
{
	struct stamp stamp = {MAGIC, from, number, now};

	if (is_tcp)
		memcpy(frame + stamp_at, &stamp, SEGMENT);
	else
		memcpy(frame + stamp_at, &stamp, sizeof stamp);
}

static inline void put_flow(char *frame, unsigned from, const struct walk *walk)
{
	put_ports(frame, from, walk->flow);
	if (is_tcp && !is_fresh)
		put_place(frame, walk->lap);
}

/* Writes what differs from the frame that lay there before. */
static inline void write_frame(struct vnic *me, unsigned from, uint64_t now, int whole)
{
	char *frame = frame_of(&me->send, me->send.written);
	uint32_t number = traffic[from].next++;

	put_stamp(frame, from, number, now);
	if (macs > 1)
		put_source((uint8_t *)frame + ADDRESS, from, next_source(&traffic[from]));
	if (flows > 1) {
		put_flow(frame, from, &me->walk);
		walk_on(&me->walk, flows);
	}
	if (whole)
		fill((uint8_t *)frame + payload_at, frame_len - payload_at, 0, pattern_of(from, number));
}

/* A frame is made where there is room for it, so none is ever unsent. */
static unsigned send_burst(unsigned v, unsigned n, uint64_t now, int whole)
{
	struct vnic *me = &vnic[v];
	unsigned room = free_to_send(&me->send, n), sent = room < n ? room : n;

	for (unsigned i = 0; i < sent; i++) {
		__builtin_prefetch(frame_of(&me->send, me->send.written + AHEAD), 1);
		write_frame(me, v, now, whole);
		write_next(&me->send, VNET_HEADER + frame_len);
	}
	show(&me->send);
	tell_of(&me->send);
	traffic[v].counts.sent += sent;
	traffic[v].counts.bursts++;
	traffic[v].counts.blocked += sent < n;
	return sent;
}

/* --- receiving --- */

static int whole_intact(const char *frame, const struct stamp *stamp)
{
	char expected[LONGEST_HEADER];
	struct walk walk = walk_to(stamp->number, flows);

	memcpy(expected, vnic[stamp->from].header, stamp_at);
	put_source((uint8_t *)expected + ADDRESS, stamp->from, stamp->number % macs);
	if (flows > 1)
		put_flow(expected, stamp->from, &walk);
	return !memcmp(frame, expected, stamp_at) &&
	       intact((const uint8_t *)frame + payload_at, frame_len - payload_at, 0,
		      pattern_of(stamp->from, stamp->number));
}

static inline void take_frame(struct vnic *me, unsigned v, const char *frame, uint32_t len, uint64_t now,
			      int timed, int whole)
{
	const struct stamp *stamp = (const void *)(frame + stamp_at);
	struct traffic *mine = &traffic[v];
	uint16_t buffers;

	memcpy(&buffers, frame - 2, sizeof buffers);
	if (len < VNET_HEADER + payload_at || stamp->magic != MAGIC) {
		mine->counts.foreign++;
		return;
	}
	if (stamp->from != (v ^ 1) || memcmp(frame, me->mac, ADDRESS)) {
		mine->counts.misdelivered++;
		return;
	}
	whole = count_frame(mine, stamp->number, macs * flows, whole);
	mine->counts.corrupt +=
		len != VNET_HEADER + frame_len || buffers != 1 || (whole && !whole_intact(frame, stamp));
	if (timed)
		note_latency(now - stamp->tsc);
	if (is_carrying && is_watching)
		watch(stamp->number % 2);
}

static void fetch(const struct ring *ring, uint32_t n)
{
	const char *frame = frame_of(ring, n);

	__builtin_prefetch(frame);
	__builtin_prefetch(frame - VNET_HEADER);
}

/* Takes what has come and gives the buffers back. */
static unsigned take_burst(unsigned v, int whole)
{
	struct vnic *me = &vnic[v];
	struct ring *ring = &me->receive;
	unsigned n = filled(ring, 2 * burst);
	uint64_t now;

	if (!n) {
		tell_of(ring);
		return 0;
	}
	for (unsigned i = 0; i < n && i < AHEAD; i++)
		fetch(ring, ring->taken + i);
	now = __rdtsc();
	for (unsigned i = 0; i < n; i++) {
		if (i + AHEAD < n)
			fetch(ring, ring->taken + AHEAD);
		take_frame(me, v, frame_of(ring, ring->taken), len_of(ring, ring->taken), now, !is_tcp && (rate || !i), whole);
		ring->taken++;
		write_next(ring, VNET_HEADER + ring->room);
	}
	show(ring);
	tell_of(ring);
	traffic[v].counts.taken += n;
	return n;
}

static void rest(void)
{
	if (is_watching)
		nap();
}

static unsigned take_turn(int whole)
{
	unsigned n = 0;

	for (unsigned v = 0; v < vnics; v++) {
		n += take_burst(v, whole);
		/* It may have come to want that after the frames were sent. */
		tell_of(&vnic[v].send);
	}
	return n;
}

/* --- what goes before --- */

/* Both sides of a pair speak, whichever sends later: a switch learns from what it hears. */
static void greet_all(void)
{
	for (unsigned v = 0; v < vnics; v++)
		prepare(v, GREETING);
	greet(1);
}

/* A frame of each of these flows, none of which may get lost. */
static void send_of_each(unsigned v, uint32_t first, unsigned n)
{
	struct vnic *me = &vnic[v];
	const struct counts *there = &traffic[v ^ 1].counts;
	uint64_t expected = there->arrived + n, limit = __rdtsc() + OPENING_LIMIT_S * hz;

	while (free_to_send(&me->send, n) < n)
		;
	for (unsigned i = 0; i < n; i++) {
		char *frame = frame_of(&me->send, me->send.written);
		put_stamp(frame, v, traffic[v].next++, __rdtsc());
		put_ports(frame, v, first + i);
		write_next(&me->send, VNET_HEADER + frame_len);
	}
	show(&me->send);
	while (there->arrived < expected) {
		take_turn(0);
		if (stop || __rdtsc() > limit)
			die("of flows %u to %u of vNIC %u some frame did not arrive\n", first, first + n - 1, v);
	}
}

static void send_of_all(unsigned v, enum stage stage)
{
	prepare(v, stage);
	for (uint32_t f = 0; f < flows; f += burst)
		send_of_each(v, f, flows - f < burst ? flows - f : burst);
}

static void open_flows(unsigned client)
{
	send_of_all(client, is_tcp ? OPENING : CARRYING);
	send_of_all(client + 1, is_tcp ? ANSWERING : CARRYING);
	if (is_tcp)
		send_of_all(client, CONFIRMING);
}

/* From here on frames are those that are measured. */
static void open_all_flows(void)
{
	for (unsigned v = 0; flows > 1 && !is_fresh && v < vnics; v += 2)
		open_flows(v);
	for (unsigned v = 0; v < vnics; v++) {
		prepare(v, is_tcp && is_fresh ? OPENING : CARRYING);
		vnic[v].walk = walk_to(traffic[v].next, flows);
	}
	is_carrying = 1;
}

/* --- setting up --- */

static void add_vnic(const char *option)
{
	uint8_t *m;

	if (vnics == MAX_VNICS)
		die("at most %d vNICs\n", MAX_VNICS);
	m = vnic[vnics].mac;
	if (sscanf(option, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx,", m, m + 1, m + 2, m + 3, m + 4, m + 5) != ADDRESS ||
	    !strchr(option, ','))
		die("--vnic is MAC,SOCKET\n");
	vnic[vnics++].socket = strchr(option, ',') + 1;
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {
		COMMON_OPTIONS, {"packed", 0, 0, 'p'}, {"cpu", 1, 0, 'c'}, {"vnic", 1, 0, 'i'}, {"flows", 1, 0, 'f'},
		{"tcp", 0, 0, 'T'}, {"fresh", 0, 0, 'F'}, {"watch", 0, 0, 'W'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, 0)) != -1)
		switch (option) {
		case 'p': is_packed = 1; break;
		case 'c': cpu = atoi(optarg); break;
		case 'i': add_vnic(optarg); break;
		case 'f': flows = atoi(optarg); break;
		case 'T': is_tcp = 1; break;
		case 'F': is_fresh = 1; break;
		case 'W': is_watching = 1; break;
		default: take_option(option);
		}
	check_options(LARGEST_FRAME, MAX_BURST);
	check_vnics();
	if (flows < 1 || flows > MOST_FLOWS || (flows > 1 && macs > 1) || (is_tcp && (both_ways || rate)))
		die("--flows is 1 to %u, and not with --macs; --tcp goes one way, as fast as it can\n", MOST_FLOWS);
	if (is_watching && (flows != 2 || !rate))
		die("--watch takes two flows and a rate\n");
	if (is_watching)
		be_urgent();
}

static void run_on(unsigned number)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(number, &only);
	if (sched_setaffinity(0, sizeof only, &only))
		die("cannot run on CPU %u: %s\n", number, strerror(errno));
}

/* Of the time stamp counter. */
static uint64_t cycles_a_second(void)
{
	struct timespec from, to;
	uint64_t began = __rdtsc(), cycles;

	clock_gettime(CLOCK_MONOTONIC_RAW, &from);
	usleep(100000);
	clock_gettime(CLOCK_MONOTONIC_RAW, &to);
	cycles = __rdtsc() - began;
	return cycles / (to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
}

static void open_vnic(unsigned v, struct memory *memory, uint32_t room)
{
	struct vnic *me = &vnic[v];
	int link = connect_to(me->socket);

	agree(link, F_VERSION_1 | F_MRG_RXBUF | (is_packed ? F_RING_PACKED : 0), F_IN_ORDER);
	tell_memory(link, memory);
	make_ring(&me->receive, memory, is_packed, 1, room);
	make_ring(&me->send, memory, is_packed, 0, room);
	for (unsigned n = 0; n < RING; n++)
		write_next(&me->receive, VNET_HEADER + room);
	show(&me->receive);
	connect_ring(&me->receive, link, 0);
	connect_ring(&me->send, link, 1);
	tell_state(link, SET_VRING_ENABLE, 0, 1);
	tell_state(link, SET_VRING_ENABLE, 1, 1);
}

static void open_all(void)
{
	uint32_t room = frame_len < 2048 ? 2048 : frame_len;
	struct memory memory = share_memory(2 * vnics * ring_bytes(room));

	for (unsigned v = 0; v < vnics; v++)
		open_vnic(v, &memory, room);
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	run_on(cpu);
	frame_len = size - FCS;
	stamp_at = is_tcp ? TCP_PAYLOAD_AT : UDP_PAYLOAD_AT;
	payload_at = stamp_at + (is_tcp ? SEGMENT : sizeof(struct stamp));
	begin_traffic(cycles_a_second());
	open_all();
	greet_all();
	open_all_flows();
	measure();
	report_verified();
	return 0;
}
