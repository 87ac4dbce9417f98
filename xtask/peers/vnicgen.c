/*
 * vnicgen: the vNICs of a benchmark, on DPDK's virtio-user driver.
 *
 *   vnicgen [EAL options, --vdev=net_virtio_userN,... for each vNIC] -- --size 64 --seconds 2 [--warmup 0.5]
 *           [--verify 0.5] [--both-ways] [--macs 1] [--burst 32] [--rate FRAMES-A-SECOND]
 *   vnicgen --lcores 0@1,1@0 [EAL options] -- --copy --size 65536 --seconds 2
 *
 * What it does with them is in generator.h. What a sender could not send for want of room in its ring is sent in the next turn.
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
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include "generator.h"
#include "pattern.h"

#define MAX_BURST 32
#define MAX_TAKEN (2 * MAX_BURST)
#define MAX_PIECES 17
#define RING 1024
#define MAGIC 0x76737747u
#define SEGMENT_PIECE 4096 /* bytes of a buffer for segments: a page, as guests have */
#define TCP_PAYLOAD 1448
#define JOBS (RING * SEGMENT_PIECE / 65536)

/* Behind Ethernet, IPv4 and UDP (42 bytes) the 18 that are left of the smallest frame. */
struct stamp {
	uint32_t magic;
	uint16_t from;
	uint32_t number;
	uint64_t tsc;
} __attribute__((packed));

struct vnic {
	struct rte_ether_addr mac;
	char header[64]; /* of the frames it sends */
	struct rte_mbuf *waiting[MAX_BURST];
	unsigned waits; /* of which so many are unsent, the last ones */
};

/* Something to copy: given by the generator, done by the copying lcore, collected by the generator. */
struct job {
	struct rte_mbuf *from, *to;
};

static int copying;

static unsigned header_len, payload_at, pieces;
static struct vnic vnic[MAX_VNICS];
static struct rte_mempool *pool;

static struct job jobs[JOBS];
static _Alignas(64) _Atomic unsigned jobs_given;
static _Alignas(64) _Atomic unsigned jobs_done;
static unsigned jobs_collected;

static int is_segment(void) { return size > LARGEST_FRAME; }

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
	uint32_t number = traffic[from].next++;

	if (is_segment()) {
		memcpy(eth, me->header, 54);
		offload_segment(m);
	} else {
		memcpy(eth, me->header, 42);
	}
	*stamp = (struct stamp){MAGIC, from, number, now};
	if (macs > 1)
		eth->src_addr = source_mac(from, next_source(&traffic[from]));
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
	me->waits = traffic[from].unsent = n;
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
	struct traffic *mine = &traffic[v];
	unsigned n = mine->unsent;
	struct rte_mbuf **m = vnic[v].waiting + vnic[v].waits - n;
	unsigned sent = copying ? give_jobs(m, n) : rte_eth_tx_burst(v, 0, m, n);

	mine->unsent -= sent;
	mine->counts.sent += sent;
	mine->counts.bursts++;
	mine->counts.blocked += sent < n;
	return sent;
}

static unsigned send_burst(unsigned v, unsigned n, uint64_t now, int whole)
{
	if (!traffic[v].unsent && !make_frames(v, n, now, whole))
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
	struct traffic *mine = &traffic[v];
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const void *);
	const struct stamp *stamp = rte_pktmbuf_mtod_offset(m, const void *, header_len);

	if (m->data_len < payload_at || stamp->magic != MAGIC) {
		mine->counts.foreign++;
		return;
	}
	if (stamp->from != (v ^ 1) || !rte_is_same_ether_addr(&eth->dst_addr, &vnic[v].mac)) {
		mine->counts.misdelivered++;
		return;
	}
	whole = count_frame(mine, stamp->number, macs, whole);
	mine->counts.corrupt += m->pkt_len != frame_len || (whole && !whole_intact(m, stamp));
	note_latency(now - stamp->tsc);
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
	uint64_t now = __rdtsc();

	for (unsigned i = 0; i < n; i++)
		take_frame(v, got[i], now, whole);
	rte_pktmbuf_free_bulk(got, n);
	traffic[v].counts.taken += n;
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

static void rest(void)
{
}

static unsigned take_turn(int whole)
{
	unsigned n = 0;

	for (unsigned v = 0; v < vnics; v++)
		n += take_burst(v, whole);
	return n;
}

/* --- setting up --- */

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {COMMON_OPTIONS, {"copy", 0, 0, 'c'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, 0)) != -1)
		if (option == 'c')
			copying = 1;
		else
			take_option(option);
	check_options(65536, MAX_BURST);
}

/* Enough for all rings to be full, as much again under way between them, and what the cache keeps. */
static void make_pool(unsigned users)
{
	unsigned room = is_segment() ? SEGMENT_PIECE : RTE_MAX(frame_len, 2048u);

	pool = rte_pktmbuf_pool_create("frames", users * 4 * RING - 1, 512, 0, room + RTE_PKTMBUF_HEADROOM,
				       SOCKET_ID_ANY);
	if (!pool)
		die("no memory for frames: %s\n", rte_strerror(rte_errno));
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
		die("vNIC %u does not start: %s\n", v, rte_strerror(-error));
	rte_eth_macaddr_get(v, &vnic[v].mac);
}

static void open_all(void)
{
	unsigned found = copying ? 2 : rte_eth_dev_count_avail();

	vnics = found;
	check_vnics();
	make_pool(found);
	for (unsigned v = 0; v < found; v++)
		if (copying)
			vnic[v].mac = (struct rte_ether_addr){{0x02, 0, 0, 0, 0, v}};
		else
			open_vnic(v);
	for (unsigned v = 0; v < vnics; v++)
		make_header(v);
	if (copying && rte_eal_remote_launch(copy_jobs, 0, 1))
		die("--copy takes an lcore 1, as in --lcores 0@1,1@0\n");
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		die("DPDK's environment does not start: %s\n", rte_strerror(rte_errno));
	read_options(argc - used, argv + used);
	frame_len = is_segment() ? size : size - FCS;
	header_len = is_segment() ? 54 : 42;
	payload_at = header_len + sizeof(struct stamp);
	pieces = is_segment() ? (frame_len + SEGMENT_PIECE - 1) / SEGMENT_PIECE : 1;
	open_all();
	begin_traffic(rte_get_tsc_hz());
	/* Both sides of a pair speak, whichever sends later: a switch learns from what it hears. */
	greet(!copying);
	measure();
	report_verified();
	stop = 1;
	rte_eal_mp_wait_lcore();
	for (unsigned v = 0; v < vnics && !copying; v++)
		rte_eth_dev_stop(v);
	return 0;
}
