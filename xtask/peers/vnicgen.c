/*
 * vnicgen: the vNICs of a benchmark, on DPDK's virtio-user driver.
 *
 *   vnicgen [EAL options, --vdev=net_virtio_userN,... for each vNIC] -- --size 64 --seconds 2 [--warmup 0.5]
 *           [--verify 0.5] [--both-ways] [--macs 1] [--burst 32] [--rate FRAMES-A-SECOND]
 *   vnicgen --lcores 0@1,1@0 [EAL options] -- --copy --size 65536 --seconds 2
 *
 * vNIC 0 sends to 1, 2 to 3 and so on; with --both-ways 1 sends to 0, too. One thread does all of it: in each
 * turn it sends a burst from every sender and takes up to two from every receiver, so that no backlog stays. What
 * a sender could not send for want of room in its ring is sent in the next turn; nothing is lost on this side.
 *
 * Phases:
 *   greeting   one frame at a time, until every vNIC has heard from its peer: all is connected and learnt;
 *   measuring  after a warm-up that is not counted. Every frame carries its sender, a number and the time, so
 *              that rate, latency, loss, and frames that are misdelivered, reordered or duplicated are told.
 *              The bytes behind that are not touched, for then the generator would be measured;
 *   verifying  as fast as that goes, with every byte of every frame written and checked.
 *
 * Sizes up to 9018 count the FCS, as is usual. Beyond that, frames are TCP segments of that size without FCS,
 * as a guest gives them to a vNIC that negotiated TSO, and have to arrive whole, with their gso_size.
 *
 * --copy measures memcpy in place of a switch: lcore 1 copies between the same buffers, from the same pool,
 * with as much in flight as fits rings of 1024.
 *
 * The result is a line of JSON. What limits it: `idle` is the share of time of turns in which no frame was
 * there to be taken, nor room to send one; `blocked` is the share of bursts that a ring had not enough room for;
 * `ceiling_mpps` is the rate of those turns in which it sent full bursts and took as much, so what this program
 * could do with a switch that never makes it wait (0 if there were none). `kernel` is the share of time of system
 * calls, of which it makes none but to notify a switch that wants it. `waited` is the share of time in which
 * something else ran on this CPU: on a machine with other work the figures are worth nothing.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "numbers.h"
#include "pattern.h"
#include "thread.h"

#define MAX_VNICS 16
#define MAX_BURST 32
#define MAX_TAKEN (2 * MAX_BURST)
#define MAX_PIECES 17
#define RING 1024
#define MAGIC 0x76737747u
#define FCS 4
#define LARGEST_FRAME 9018
#define SEGMENT_PIECE 4096 /* bytes of a buffer for segments: a page, as guests have */
#define TCP_PAYLOAD 1448
#define LATENCY_BUCKETS 65536 /* of a quarter microsecond */
#define SILENCE_MS 200
#define GREETING_LIMIT_S 10
#define JOBS (RING * SEGMENT_PIECE / 65536)

/* Behind Ethernet, IPv4 and UDP (42 bytes) the 18 that are left of the smallest frame. */
struct stamp {
	uint32_t magic;
	uint16_t from;
	uint32_t number;
	uint64_t tsc;
} __attribute__((packed));

struct counts {
	uint64_t sent, arrived, taken, bursts, blocked;
	uint64_t foreign, misdelivered, reordered, duplicated, corrupt;
};

struct vnic {
	struct rte_ether_addr mac;
	char header[64]; /* of the frames it sends */
	uint32_t next, first; /* numbers: of the next frame, and of the first that counts */
	unsigned source; /* which of its addresses is next */
	struct rte_mbuf *waiting[MAX_BURST];
	unsigned waits, sent_of_waiting;
	struct numbers numbers; /* of the frames that it got */
	struct counts counts;
};

/* Something to copy: given by the generator, done by the copying lcore, collected by the generator. */
struct job {
	struct rte_mbuf *from, *to;
};

static unsigned size = 64, burst = 32, macs = 1;
static double seconds = 2, warmup = 0.5, verify = 0.5;
static uint64_t rate;
static int both_ways, copying;

static volatile sig_atomic_t stop;
static unsigned vnics, frame_len, header_len, payload_at, pieces;
static struct vnic vnic[MAX_VNICS];
static struct rte_mempool *pool;
static uint32_t latency[LATENCY_BUCKETS];
static uint64_t hz, quarter_us; /* of time: cycles a second, and quarter microseconds a cycle, times 2^32 */
static uint64_t idle_cycles, full_cycles, full_turns;

static struct job jobs[JOBS];
static _Alignas(64) _Atomic unsigned jobs_given;
static _Alignas(64) _Atomic unsigned jobs_done;
static unsigned jobs_collected;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static int is_segment(void) { return size > LARGEST_FRAME; }

static int sends(unsigned v) { return both_ways || v % 2 == 0; }

static unsigned senders(void) { return both_ways ? vnics : vnics / 2; }

static int receives(unsigned v) { return sends(v ^ 1); }

/* --- the bytes of frames --- */

static void make_header(unsigned from)
{
	struct rte_ether_hdr *eth = (void *)vnic[from].header;
	struct rte_ipv4_hdr *ip = (void *)(eth + 1);
	unsigned to = from ^ 1, ip_len = frame_len - sizeof *eth;

	eth->dst_addr = vnic[to].mac;
	eth->src_addr = vnic[from].mac;
	eth->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	ip->version_ihl = 0x45;
	ip->total_length = rte_cpu_to_be_16(ip_len);
	ip->time_to_live = 64;
	ip->next_proto_id = is_segment() ? IPPROTO_TCP : IPPROTO_UDP;
	ip->src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, 1 + from));
	ip->dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, 1 + to));
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	if (is_segment()) {
		struct rte_tcp_hdr *tcp = (void *)(ip + 1);
		tcp->src_port = rte_cpu_to_be_16(9000 + from);
		tcp->dst_port = rte_cpu_to_be_16(9000 + to);
		tcp->data_off = sizeof *tcp / 4 << 4;
		tcp->tcp_flags = RTE_TCP_ACK_FLAG;
		tcp->cksum = rte_ipv4_phdr_cksum(ip, 0); /* what is left for the device to complete */
	} else {
		struct rte_udp_hdr *udp = (void *)(ip + 1);
		udp->src_port = rte_cpu_to_be_16(9000 + from);
		udp->dst_port = rte_cpu_to_be_16(9000 + to);
		udp->dgram_len = rte_cpu_to_be_16(ip_len - sizeof *ip);
	}
}

/* 02:10+vNIC:xx:xx:xx:xx, clear of the vNICs' own. */
static struct rte_ether_addr source_mac(unsigned from, unsigned k)
{
	if (macs == 1)
		return vnic[from].mac;
	return (struct rte_ether_addr){{0x02, 0x10 + from, k >> 24, k >> 16, k >> 8, k}};
}

/* Writes all bytes of a frame but the first `skip`, which lie in its first buffer. */
static void fill_payload(struct rte_mbuf *m, unsigned skip, uint64_t pattern)
{
	for (unsigned at = 0; m; at += m->data_len - skip, m = m->next, skip = 0)
		fill(rte_pktmbuf_mtod_offset(m, uint8_t *, skip), m->data_len - skip, at, pattern);
}

/* Whether they are what `fill_payload` wrote, however the frame is cut into buffers now. */
static int payload_intact(const struct rte_mbuf *m, unsigned skip, uint64_t pattern)
{
	for (unsigned at = 0; m; at += m->data_len - skip, m = m->next, skip = 0)
		if (!intact(rte_pktmbuf_mtod_offset(m, const uint8_t *, skip), m->data_len - skip, at, pattern))
			return 0;
	return 1;
}

/* --- sending --- */

/* A frame is one buffer, a segment a chain of them; `all` has a burst's buffers. */
static void chain(struct rte_mbuf **all, unsigned frame)
{
	struct rte_mbuf *first = all[frame * pieces];
	unsigned left = frame_len;

	for (unsigned i = 0; i < pieces; i++) {
		struct rte_mbuf *m = all[frame * pieces + i];
		m->data_len = RTE_MIN(left, pieces > 1 ? SEGMENT_PIECE : left);
		m->next = i + 1 < pieces ? all[frame * pieces + i + 1] : NULL;
		left -= m->data_len;
	}
	first->nb_segs = pieces;
	first->pkt_len = frame_len;
}

static void offload_segment(struct rte_mbuf *m)
{
	m->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	m->l2_len = sizeof(struct rte_ether_hdr);
	m->l3_len = sizeof(struct rte_ipv4_hdr);
	m->l4_len = sizeof(struct rte_tcp_hdr);
	m->tso_segsz = TCP_PAYLOAD;
}

static void write_frame(struct rte_mbuf *m, unsigned from, uint64_t now, int whole)
{
	struct vnic *me = &vnic[from];
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, void *);
	struct stamp *stamp = rte_pktmbuf_mtod_offset(m, void *, header_len);
	uint32_t number = me->next++;

	if (is_segment()) {
		memcpy(eth, me->header, 54);
		offload_segment(m);
	} else {
		memcpy(eth, me->header, 42);
	}
	*stamp = (struct stamp){MAGIC, from, number, now};
	if (macs > 1) {
		eth->src_addr = source_mac(from, me->source);
		me->source = me->source + 1 == macs ? 0 : me->source + 1;
	}
	if (whole)
		fill_payload(m, payload_at, pattern_of(from, number));
}

/* Makes `n` frames; 0 when the pool is empty. */
static int make_frames(unsigned from, unsigned n, uint64_t now, int whole)
{
	struct rte_mbuf *all[MAX_BURST * MAX_PIECES];
	struct vnic *me = &vnic[from];

	if (rte_pktmbuf_alloc_bulk(pool, all, n * pieces))
		return 0;
	for (unsigned i = 0; i < n; i++) {
		me->waiting[i] = all[i * pieces];
		chain(all, i);
		write_frame(me->waiting[i], from, now, whole);
	}
	me->waits = n;
	me->sent_of_waiting = 0;
	return 1;
}

static unsigned give_jobs(struct rte_mbuf **m, unsigned n)
{
	unsigned given = atomic_load_explicit(&jobs_given, memory_order_relaxed), i = 0;

	for (; i < n && given + i - jobs_collected < JOBS; i++) {
		struct rte_mbuf *to[MAX_PIECES];
		if (rte_pktmbuf_alloc_bulk(pool, to, pieces))
			break;
		chain(to, 0);
		jobs[(given + i) % JOBS] = (struct job){m[i], to[0]};
	}
	atomic_store_explicit(&jobs_given, given + i, memory_order_release);
	return i;
}

/* Sends what waits; returns how many frames went. */
static unsigned send_waiting(unsigned v)
{
	struct vnic *me = &vnic[v];
	struct rte_mbuf **m = me->waiting + me->sent_of_waiting;
	unsigned n = me->waits - me->sent_of_waiting;
	unsigned sent = copying ? give_jobs(m, n) : rte_eth_tx_burst(v, 0, m, n);

	me->sent_of_waiting += sent;
	me->counts.sent += sent;
	me->counts.bursts++;
	me->counts.blocked += sent < n;
	return sent;
}

static unsigned send_burst(unsigned v, unsigned n, uint64_t now, int whole)
{
	if (vnic[v].sent_of_waiting == vnic[v].waits && !make_frames(v, n, now, whole))
		return 0;
	return send_waiting(v);
}

/* --- receiving --- */

static int whole_intact(const struct rte_mbuf *m, const struct stamp *stamp)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const void *);
	struct rte_ether_addr source = source_mac(stamp->from, stamp->number % macs);
	const struct rte_ether_hdr *expected = (const void *)vnic[stamp->from].header;
	/* Not a segment's TCP checksum, which is for the device to complete, nor the urgent pointer behind it:
	 * DPDK's vhost library takes the length out of the sum. */
	unsigned checked = header_len - 2 * RTE_ETHER_ADDR_LEN - (is_segment() ? 4 : 0);
	int has_gso = m->ol_flags & RTE_MBUF_F_RX_LRO && m->tso_segsz == TCP_PAYLOAD;

	return (has_gso || copying || !is_segment()) && rte_is_same_ether_addr(&eth->src_addr, &source) &&
	       !memcmp(&eth->ether_type, &expected->ether_type, checked) &&
	       payload_intact(m, payload_at, pattern_of(stamp->from, stamp->number));
}

static void take_frame(unsigned v, const struct rte_mbuf *m, uint64_t now, int whole)
{
	struct vnic *me = &vnic[v];
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const void *);
	const struct stamp *stamp = rte_pktmbuf_mtod_offset(m, const void *, header_len);
	enum arrival arrival;
	uint64_t waited;

	if (m->data_len < payload_at || stamp->magic != MAGIC) {
		me->counts.foreign++;
		return;
	}
	if (stamp->from != (v ^ 1) || !rte_is_same_ether_addr(&eth->dst_addr, &me->mac)) {
		me->counts.misdelivered++;
		return;
	}
	arrival = take_number(&me->numbers, stamp->number, macs);
	me->counts.duplicated += arrival == DUPLICATED;
	me->counts.reordered += arrival == REORDERED;
	me->counts.arrived += arrival != DUPLICATED && (int32_t)(stamp->number - me->first) >= 0;
	/* A straggler of the phase before was not written whole. */
	whole = whole && (int32_t)(stamp->number - me->first) >= 0;
	me->counts.corrupt += m->pkt_len != frame_len || (whole && !whole_intact(m, stamp));
	waited = (unsigned __int128)(now - stamp->tsc) * quarter_us >> 32;
	latency[RTE_MIN(waited, LATENCY_BUCKETS - 1ul)]++;
}

static unsigned collect_jobs(unsigned v, struct rte_mbuf **m, unsigned n)
{
	unsigned done = atomic_load_explicit(&jobs_done, memory_order_acquire), i = 0;

	for (; v == 1 && i < n && jobs_collected != done; i++, jobs_collected++) {
		struct job *job = &jobs[jobs_collected % JOBS];
		rte_pktmbuf_free(job->from);
		m[i] = job->to;
	}
	return i;
}

static unsigned take_burst(unsigned v, int whole)
{
	struct rte_mbuf *got[MAX_TAKEN];
	unsigned n = copying ? collect_jobs(v, got, 2 * burst) : rte_eth_rx_burst(v, 0, got, 2 * burst);
	uint64_t now = rte_rdtsc();

	for (unsigned i = 0; i < n; i++)
		take_frame(v, got[i], now, whole);
	rte_pktmbuf_free_bulk(got, n);
	vnic[v].counts.taken += n;
	return n;
}

static int copy_jobs(void *nothing)
{
	unsigned done = 0;

	(void)nothing;
	while (!stop) {
		if (done == atomic_load_explicit(&jobs_given, memory_order_acquire))
			continue;
		struct rte_mbuf *from = jobs[done % JOBS].from, *to = jobs[done % JOBS].to;
		for (; from; from = from->next, to = to->next)
			memcpy(rte_pktmbuf_mtod(to, void *), rte_pktmbuf_mtod(from, void *), from->data_len);
		atomic_store_explicit(&jobs_done, ++done, memory_order_release);
	}
	return 0;
}

/* --- phases --- */

static unsigned take_turn(int whole)
{
	unsigned n = 0;

	for (unsigned v = 0; v < vnics; v++)
		n += take_burst(v, whole);
	return n;
}

/* Sends and takes until `end`. */
static void run_until(uint64_t end, int whole)
{
	uint64_t pause = rate && !whole ? hz * burst / rate : 0, due = rte_rdtsc();

	while (!stop) {
		uint64_t now = rte_rdtsc();
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
		if (!sent && !taken)
			idle_cycles += rte_rdtsc() - now;
		if (sent == burst * senders() && taken >= sent) {
			full_cycles += rte_rdtsc() - now;
			full_turns++;
		}
	}
}

static struct counts sum(void)
{
	struct counts all = {0};

	for (unsigned v = 0; v < vnics; v++) {
		const uint64_t *one = (void *)&vnic[v].counts;
		for (unsigned i = 0; i < sizeof all / sizeof *one; i++)
			((uint64_t *)&all)[i] += one[i];
	}
	return all;
}

/* Sends what waits, and takes until all have arrived, or nothing has come for so long that the rest is lost. */
static void drain(int whole)
{
	uint64_t heard = rte_rdtsc();

	while (!stop && rte_rdtsc() - heard < hz / 1000 * SILENCE_MS) {
		struct counts all = sum();
		unsigned moved = take_turn(whole);
		for (unsigned v = 0; v < vnics; v++)
			if (vnic[v].sent_of_waiting < vnic[v].waits)
				moved += send_waiting(v);
		if (moved)
			heard = rte_rdtsc();
		else if (all.arrived == all.sent)
			return;
	}
}

/* What is counted begins here: numbers sent from now on are expected, and nothing was seen of anything. */
static void begin_counting(void)
{
	for (unsigned v = 0; v < vnics; v++) {
		struct vnic *to = &vnic[v ^ 1];
		unsigned not_sent = vnic[v].waits - vnic[v].sent_of_waiting;
		to->first = vnic[v].next - not_sent;
		vnic[v].counts.sent = vnic[v].counts.bursts = vnic[v].counts.blocked = 0;
		to->counts.arrived = to->counts.taken = 0;
	}
	memset(latency, 0, sizeof latency);
	idle_cycles = full_cycles = full_turns = 0;
}

static int all_have_heard(void)
{
	for (unsigned v = 0; v < vnics; v++)
		if (receives(v) && !vnic[v].counts.arrived)
			return 0;
	return 1;
}

/* Both sides of a pair speak, whichever sends later: a switch learns from what it hears. */
static void greet(void)
{
	uint64_t limit = rte_rdtsc() + GREETING_LIMIT_S * hz;
	int both = both_ways;

	both_ways = !copying;
	while (!stop && !all_have_heard()) {
		if (rte_rdtsc() > limit)
			rte_exit(1, "a vNIC has heard nothing from its peer for %d s\n", GREETING_LIMIT_S);
		for (unsigned v = 0; v < vnics; v++)
			if (sends(v))
				send_burst(v, 1, rte_rdtsc(), 0);
		rte_delay_ms(5);
		take_turn(0);
	}
	drain(0);
	both_ways = both;
	/* Greetings may be flooded, and lost while ports come up. */
	for (unsigned v = 0; v < vnics; v++)
		vnic[v].counts = (struct counts){0};
}

/* --- the result --- */

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

/* Prints what was measured; the braces are closed by `report_verified`. */
static void measure(void)
{
	struct counts timed, all;
	double idle, ceiling, loss, waited, kernel;

	run_until(rte_rdtsc() + warmup * hz, 0);
	begin_counting();
	waited = waited_for_cpu();
	kernel = kernel_seconds();
	run_until(rte_rdtsc() + seconds * hz, 0);
	waited = (waited_for_cpu() - waited) / seconds;
	kernel = (kernel_seconds() - kernel) / seconds;
	timed = sum();
	idle = idle_cycles / (seconds * hz);
	ceiling = full_cycles ? (double)full_turns * burst * senders() * hz / full_cycles / 1e6 : 0;
	drain(0);
	all = sum();
	loss = 1 - (double)all.arrived / RTE_MAX(all.sent, 1u);
	printf("{\"size\":%u,\"seconds\":%g,\"tx_mpps\":%.4f,\"rx_mpps\":%.4f,\"rx_gbps\":%.3f,\"loss\":%.8f,",
	       size, seconds, timed.sent / 1e6 / seconds, timed.taken / 1e6 / seconds,
	       timed.taken / 1e9 / seconds * frame_len * 8, loss);
	printf("\"p50_us\":%.2f,\"p99_us\":%.2f,\"idle\":%.4f,\"blocked\":%.4f,\"ceiling_mpps\":%.4f,"
	       "\"waited\":%.4f,\"kernel\":%.4f,",
	       quantile(.5), quantile(.99), idle, (double)timed.blocked / RTE_MAX(timed.bursts, 1u), ceiling,
	       waited, kernel);
}

static void report_verified(void)
{
	struct counts all;

	begin_counting();
	run_until(rte_rdtsc() + verify * hz, 1);
	drain(1);
	all = sum();
	if (stop)
		rte_exit(1, "interrupted\n");
	printf("\"verified\":%" PRIu64 ",\"verified_of\":%" PRIu64 ",\"corrupt\":%" PRIu64
	       ",\"misdelivered\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"duplicated\":%" PRIu64
	       ",\"foreign\":%" PRIu64 "}\n",
	       all.arrived, all.sent, all.corrupt, all.misdelivered, all.reordered, all.duplicated,
	       all.foreign);
	fflush(stdout);
}

/* --- setting up --- */

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"size", 1, 0, 's'},   {"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'w'}, {"verify", 1, 0, 'v'},
		{"both-ways", 0, 0, 'b'}, {"macs", 1, 0, 'm'}, {"burst", 1, 0, 'n'},  {"rate", 1, 0, 'r'},
		{"copy", 0, 0, 'c'},   {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, 0)) != -1)
		switch (option) {
		case 's': size = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'w': warmup = atof(optarg); break;
		case 'v': verify = atof(optarg); break;
		case 'b': both_ways = 1; break;
		case 'm': macs = atoi(optarg); break;
		case 'n': burst = atoi(optarg); break;
		case 'r': rate = strtoull(optarg, 0, 10); break;
		case 'c': copying = 1; break;
		default: rte_exit(1, "the options are at the head of vnicgen.c\n");
		}
	if (size < 64 || size > 65536 || burst < 1 || burst > MAX_BURST || macs < 1 || seconds <= 0)
		rte_exit(1, "--size is 64 to 65536, --burst 1 to %d, --macs at least 1, --seconds above 0\n",
			 MAX_BURST);
}

/* Enough for all rings to be full, as much again under way between them, and what the cache keeps. */
static void make_pool(unsigned users)
{
	unsigned room = is_segment() ? SEGMENT_PIECE : RTE_MAX(frame_len, 2048u);

	pool = rte_pktmbuf_pool_create("frames", users * 4 * RING - 1, 512, 0, room + RTE_PKTMBUF_HEADROOM,
				       SOCKET_ID_ANY);
	if (!pool)
		rte_exit(1, "no memory for frames: %s\n", rte_strerror(rte_errno));
}

static void open_vnic(unsigned v)
{
	struct rte_eth_conf conf = {0};
	int error;

	if (is_segment()) {
		conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_SCATTER;
		conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS |
				       RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
	} else if (size > 1518) {
		conf.rxmode.mtu = size - 18;
	}
	if ((error = rte_eth_dev_configure(v, 1, 1, &conf)) ||
	    (error = rte_eth_rx_queue_setup(v, 0, RING, 0, 0, pool)) ||
	    (error = rte_eth_tx_queue_setup(v, 0, RING, 0, 0)) || (error = rte_eth_dev_start(v)))
		rte_exit(1, "vNIC %u does not start: %s\n", v, rte_strerror(-error));
	rte_eth_macaddr_get(v, &vnic[v].mac);
}

static void open_all(void)
{
	unsigned found = copying ? 2 : rte_eth_dev_count_avail();

	if (found < 2 || found > MAX_VNICS || found % 2)
		rte_exit(1, "%u vNICs: it takes an even number, 2 to %d\n", found, MAX_VNICS);
	vnics = found;
	make_pool(found);
	for (unsigned v = 0; v < found; v++) {
		vnic[v].next = 1;
		vnic[v].source = 1 % macs;
		if (copying)
			vnic[v].mac = (struct rte_ether_addr){{0x02, 0, 0, 0, 0, v}};
		else
			open_vnic(v);
	}
	for (unsigned v = 0; v < vnics; v++)
		make_header(v);
	if (copying && rte_eal_remote_launch(copy_jobs, 0, 1))
		rte_exit(1, "--copy takes an lcore 1, as in --lcores 0@1,1@0\n");
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		rte_exit(1, "DPDK's environment does not start: %s\n", rte_strerror(rte_errno));
	read_options(argc - used, argv + used);
	frame_len = is_segment() ? size : size - FCS;
	header_len = is_segment() ? 54 : 42;
	payload_at = header_len + sizeof(struct stamp);
	pieces = is_segment() ? (frame_len + SEGMENT_PIECE - 1) / SEGMENT_PIECE : 1;
	hz = rte_get_tsc_hz();
	quarter_us = ((unsigned __int128)4000000 << 32) / hz;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	open_all();
	greet();
	measure();
	report_verified();
	stop = 1;
	rte_eal_mp_wait_lcore();
	for (unsigned v = 0; v < vnics && !copying; v++)
		rte_eth_dev_stop(v);
	return 0;
}
