/*
 * The front end of vhost-user, as much of it as a vNIC with one pair of rings needs: it shares its memory, agrees on
 * features, and says where its rings are. Also the memory itself: one file, in huge pages, as guests have it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "die.h"

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define F_MRG_RXBUF (1ull << 15)
#define F_PROTOCOL_FEATURES (1ull << 30)
#define F_VERSION_1 (1ull << 32)
#define F_RING_PACKED (1ull << 34)
#define F_IN_ORDER (1ull << 35)

#define HUGE_PAGE (2ul << 20)

struct memory {
	int fd;
	char *at;
	size_t len, given;
};

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t number;
		struct {
			uint32_t ring, value;
		} state;
		struct {
			uint32_t ring, flags;
			uint64_t descriptors, device, driver, log;
		} address;
		struct {
			uint32_t regions, padding;
			uint64_t guest, size, user, offset;
		} table;
	} body;
} __attribute__((packed));

#define BODY offsetof(struct message, body)

static struct memory share_memory(size_t len)
{
	struct memory memory = {.len = (len + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE};

	memory.fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB);
	if (memory.fd < 0 || ftruncate(memory.fd, memory.len))
		die("no file of %zu bytes in huge pages: %s\n", memory.len, strerror(errno));
	memory.at = mmap(NULL, memory.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory.fd, 0);
	if (memory.at == MAP_FAILED)
		die("not enough huge pages for %zu bytes: %s\n", memory.len, strerror(errno));
	return memory;
}

/* A part of it that begins a page, as parts of rings have to. */
static void *part_of(struct memory *memory, size_t len)
{
	char *at = memory->at + memory->given;

	memory->given += (len + 4095) / 4096 * 4096;
	if (memory->given > memory->len)
		die("more than %zu bytes of shared memory are needed\n", memory->len);
	return at;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (fd < 0 || connect(fd, (void *)&address, sizeof address))
		die("cannot connect to %s: %s\n", path, strerror(errno));
	return fd;
}

/* Sends a message of `size` bytes of body, with a descriptor if that is not negative. */
static void tell(int link, enum request request, struct message *m, uint32_t size, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec io = {m, BODY + size};
	struct msghdr header = {.msg_iov = &io, .msg_iovlen = 1};

	m->request = request;
	m->flags = 1; /* the protocol's version */
	m->size = size;
	if (fd >= 0) {
		header.msg_control = control;
		header.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	if (sendmsg(link, &header, MSG_NOSIGNAL) != (ssize_t)io.iov_len)
		die("the switch takes no message %d: %s\n", request, strerror(errno));
}

static void tell_number(int link, enum request request, uint64_t number, int fd)
{
	struct message m = {.body.number = number};

	tell(link, request, &m, sizeof number, fd);
}

static void tell_state(int link, enum request request, uint32_t ring, uint32_t value)
{
	struct message m = {.body.state = {ring, value}};

	tell(link, request, &m, sizeof m.body.state, -1);
}

static uint64_t ask(int link, enum request request)
{
	struct message m;

	tell(link, request, &m, 0, -1);
	if (recv(link, &m, BODY + sizeof m.body.number, MSG_WAITALL) != (ssize_t)(BODY + sizeof m.body.number) ||
	    m.request != request)
		die("the switch does not answer message %d\n", request);
	return m.body.number;
}

/* Agrees on `wanted`, all of which has to be there, and on what there is of `liked`; returns what was agreed on. */
static uint64_t agree(int link, uint64_t wanted, uint64_t liked)
{
	uint64_t offered, agreed;

	tell(link, SET_OWNER, &(struct message){0}, 0, -1);
	offered = ask(link, GET_FEATURES);
	wanted |= F_PROTOCOL_FEATURES;
	if (wanted & ~offered)
		die("the switch does not offer features %#llx\n", (unsigned long long)(wanted & ~offered));
	ask(link, GET_PROTOCOL_FEATURES);
	tell_number(link, SET_PROTOCOL_FEATURES, 0, -1);
	agreed = wanted | (liked & offered);
	tell_number(link, SET_FEATURES, agreed, -1);
	return agreed;
}

/* Guest addresses are the same as ours. */
static void tell_memory(int link, const struct memory *memory)
{
	uint64_t at = (uintptr_t)memory->at;
	struct message m = {.body.table = {1, 0, at, memory->len, at, 0}};

	tell(link, SET_MEM_TABLE, &m, sizeof m.body.table, memory->fd);
}

/* Says where a ring is, and returns the eventfd by which the switch is told of it. The switch tells of nothing. */
static int tell_ring(int link, uint32_t ring, uint32_t size, uint32_t base, const void *parts[3])
{
	uint64_t at[3] = {(uintptr_t)parts[0], (uintptr_t)parts[1], (uintptr_t)parts[2]};
	struct message m = {.body.address = {ring, 0, at[0], at[2], at[1], 0}};
	int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);

	if (kick < 0 || call < 0)
		die("no eventfd: %s\n", strerror(errno));
	tell_state(link, SET_VRING_NUM, ring, size);
	tell_state(link, SET_VRING_BASE, ring, base);
	tell(link, SET_VRING_ADDR, &m, sizeof m.body.address, -1);
	tell_number(link, SET_VRING_CALL, ring, call);
	tell_number(link, SET_VRING_KICK, ring, kick);
	return kick;
}
