/*
 * What a generator's frames say: Ethernet, IPv4, and the UDP or TCP header of one of many flows.
 *
 * A flow is between a client, which is an even vNIC, and a server, the next one. Flow `f` has the ports
 * 10000 + f / 500 at the client's end and 2000 + f % 500 at the server's, so the server has up to 500 services.
 *
 * Frames are of all flows in turns, but not in the order in which these began: a switch would have them side by side
 * in its memory then.
 *
 * A frame of TCP has six bytes of payload, so that it can be as short as any. Nothing is acknowledged: all of a flow
 * has to fit the window of 65,535 bytes, which is 10,900 frames.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#define ADDRESS 6
#define IP_AT 14u
#define L4_AT 34u
#define UDP_PAYLOAD_AT 42u
#define TCP_PAYLOAD_AT 54u
#define LONGEST_HEADER TCP_PAYLOAD_AT

#define SERVICES 500u
#define FIRST_SERVICE 2000u
#define FIRST_CLIENT 10000u
#define MOST_FLOWS (SERVICES * 50000u)
#define STEP 40503u /* from flow to flow: no factor in common with what numbers of flows are made of, 2 and 5 */

#define CLIENT_BEGINS 1000u /* both sides' first sequence numbers */
#define SERVER_BEGINS 2000000u
#define SEGMENT 6u

enum tcp_flags { SYN = 0x02, PUSH = 0x08, ACK = 0x10 };

/* What frames are for. */
enum stage {
	GREETING, /* to be heard by the switch: no IP, so that nothing of flows is known of them */
	OPENING, ANSWERING, CONFIRMING, /* of TCP: SYN, SYN and ACK, ACK */
	CARRYING, /* of a flow that is open, or of UDP */
};

/* A sender's way through its flows. */
struct walk {
	uint32_t flow;
	uint32_t lap, of_lap; /* laps that are behind it, and frames of this one */
};

static int is_client(unsigned vnic) { return vnic % 2 == 0; }

static void put16(char *at, uint16_t value)
{
	value = htons(value);
	memcpy(at, &value, sizeof value);
}

static void put32(char *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, sizeof value);
}

static uint16_t ip_checksum(const char *ip)
{
	uint32_t sum = 0;
	uint16_t word;

	for (unsigned i = 0; i < 20; i += 2) {
		memcpy(&word, ip + i, sizeof word);
		sum += ntohs(word);
	}
	sum = (sum >> 16) + (sum & 0xffff);
	return ~(sum + (sum >> 16));
}

static void put_ip(char *ip, unsigned from, uint16_t len, uint8_t protocol)
{
	memset(ip, 0, L4_AT - IP_AT);
	ip[0] = 0x45;
	put16(ip + 2, len);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, (uint8_t[]){10, 9, 0, 1 + from, 10, 9, 0, 1 + (from ^ 1)}, 8);
	put16(ip + 10, ip_checksum(ip));
}

/* Both ends of flow `f`. */
static inline void put_ports(char *frame, unsigned from, uint32_t f)
{
	uint16_t client = FIRST_CLIENT + f / SERVICES, server = FIRST_SERVICE + f % SERVICES;
	uint32_t ports = is_client(from) ? (uint32_t)client << 16 | server : (uint32_t)server << 16 | client;

	put32(frame + L4_AT, ports);
}

/* Where the segments of lap `lap` are. */
static inline void put_place(char *frame, uint32_t lap)
{
	put32(frame + L4_AT + 4, CLIENT_BEGINS + 1 + SEGMENT * lap);
}

static void put_udp(char *frame, unsigned from, unsigned frame_len)
{
	put_ip(frame + IP_AT, from, frame_len - IP_AT, IPPROTO_UDP);
	put16(frame + L4_AT + 4, frame_len - L4_AT);
	put16(frame + L4_AT + 6, 0);
}

/* The generator's own bytes are padding until the flow is open. */
static void put_tcp(char *frame, unsigned from, enum stage stage)
{
	uint32_t begins = is_client(from) ? CLIENT_BEGINS : SERVER_BEGINS;
	uint32_t heard = is_client(from) ? SERVER_BEGINS : CLIENT_BEGINS;
	int carries = stage == CARRYING, synchronises = stage == OPENING || stage == ANSWERING;
	char *tcp = frame + L4_AT;

	put_ip(frame + IP_AT, from, TCP_PAYLOAD_AT - IP_AT + (carries ? SEGMENT : 0), IPPROTO_TCP);
	put32(tcp + 4, synchronises ? begins : begins + 1);
	put32(tcp + 8, stage == OPENING ? 0 : heard + 1);
	tcp[12] = 5 << 4;
	tcp[13] = (synchronises ? SYN : 0) | (stage == OPENING ? 0 : ACK) | (carries ? PUSH : 0);
	put16(tcp + 14, 65535);
	put32(tcp + 16, 0);
}

/* The header of the frames of flow 0 that a vNIC sends in a stage. */
static void put_header(char *frame, unsigned from, const uint8_t *source, const uint8_t *destination,
		       enum stage stage, int is_tcp, unsigned frame_len)
{
	memcpy(frame, destination, ADDRESS);
	memcpy(frame + ADDRESS, source, ADDRESS);
	put16(frame + 2 * ADDRESS, stage == GREETING ? 0x88b5 : 0x0800);
	if (is_tcp)
		put_tcp(frame, from, stage);
	else
		put_udp(frame, from, frame_len);
	put_ports(frame, from, 0);
}

static struct walk walk_to(uint32_t number, uint32_t flows)
{
	return (struct walk){(uint64_t)number * STEP % flows, number / flows, number % flows};
}

static inline void walk_on(struct walk *at, uint32_t flows)
{
	uint32_t next = at->flow + STEP % flows;

	at->flow = next >= flows ? next - flows : next;
	if (++at->of_lap == flows) {
		at->of_lap = 0;
		at->lap++;
	}
}
