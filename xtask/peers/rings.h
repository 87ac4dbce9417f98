/*
 * The driver's side of virtio's rings, as lean as a driver can be: each slot of a ring has a buffer of its own, and
 * buffers are used in order (VIRTIO_F_IN_ORDER). So a slot's number is all that there is to know of a buffer.
 *
 * It does in the rings what other drivers do: each descriptor is written each time that it is made available, since a
 * driver in general does not have the same buffer in the same place again, and both sides' wishes to be told are looked at.
 *
 * A buffer begins with 12 bytes of virtio-net's header at the end of a cache line, so that the frame begins the next.
 */
#include <stddef.h>
#include <stdint.h>

#define RING 1024u
#define LINE 64u
#define VNET_HEADER 12u

#define MAY_WRITE 2u /* flag of a descriptor: for the device to write */
#define AVAILABLE (1u << 7)
#define USED (1u << 15)
#define SILENT 1u /* both formats: "do not tell me" */

struct split_descriptor {
	uint64_t at;
	uint64_t rest; /* length, flags, next */
};

struct split_driver {
	uint16_t flags, index, slots[RING];
};

struct split_device {
	uint16_t flags, index;
	struct {
		uint32_t id, len;
	} used[RING];
};

struct packed_descriptor {
	uint64_t at;
	uint32_t len;
	uint16_t id, flags;
};

/* Who is to be told, in packed rings. */
struct packed_wish {
	uint16_t at, flags;
};

struct ring {
	int is_packed, receives, kick_fd;
	char *buffers;
	uint32_t stride, room; /* bytes from buffer to buffer, and of a buffer behind the header */
	union {
		struct split_descriptor *split;
		struct packed_descriptor *packed;
	} descriptors;
	union {
		struct split_driver *split;
		struct packed_wish *packed;
	} driver;
	union {
		struct split_device *split;
		struct packed_wish *packed;
	} device;
	/* All of these count on and on: buffers written to descriptors, shown to the device, told of, and taken back. */
	uint32_t written, shown, told, taken;
	uint32_t used; /* split: the device's index as it was read last */
};

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)

static inline uint32_t slot_of(uint32_t n) { return n % RING; }

/* Flags that say "available" and "used" in the lap of `n`. */
static inline uint16_t available_in_lap(uint32_t n) { return n / RING % 2 ? USED : AVAILABLE; }

static inline uint16_t used_in_lap(uint32_t n) { return n / RING % 2 ? 0 : AVAILABLE | USED; }

/* Where buffer `n`'s frame begins, behind its header. */
static inline char *frame_of(const struct ring *ring, uint32_t n)
{
	return ring->buffers + (size_t)slot_of(n) * ring->stride + LINE;
}

/* Lines of a buffer of `room` bytes and its header: an odd number, so that buffers spread over all sets of a cache. */
static uint32_t stride_for(uint32_t room) { return ((room + LINE - 1) / LINE + 1) / 2 * 2 * LINE + LINE; }

static inline void write_split(struct ring *ring, uint32_t n, uint32_t len)
{
	struct split_descriptor *d = &ring->descriptors.split[slot_of(n)];

	d->at = (uintptr_t)frame_of(ring, n) - VNET_HEADER;
	d->rest = len | (uint64_t)(ring->receives ? MAY_WRITE : 0) << 32;
}

/* The first one that is not shown yet keeps its flags until `show`: the device sees all of them or none. */
static inline void write_packed(struct ring *ring, uint32_t n, uint32_t len)
{
	struct packed_descriptor *d = &ring->descriptors.packed[slot_of(n)];

	d->at = (uintptr_t)frame_of(ring, n) - VNET_HEADER;
	d->len = len;
	d->id = slot_of(n);
	if (n != ring->shown)
		store(&d->flags, available_in_lap(n) | (ring->receives ? MAY_WRITE : 0));
}

/* Writes the next descriptor, for the buffer's first `len` bytes, header included. */
static inline void write_next(struct ring *ring, uint32_t len)
{
	uint32_t n = ring->written++;

	if (ring->is_packed)
		write_packed(ring, n, len);
	else
		write_split(ring, n, len);
}

/* Shows the device what was written. */
static inline void show(struct ring *ring)
{
	if (ring->shown == ring->written)
		return;
	if (ring->is_packed)
		store(&ring->descriptors.packed[slot_of(ring->shown)].flags,
		      available_in_lap(ring->shown) | (ring->receives ? MAY_WRITE : 0));
	else
		store(&ring->driver.split->index, (uint16_t)ring->written);
	ring->shown = ring->written;
}

/* Tells the device of what it was shown, where it wants to be told. A wish that comes later than this look is seen by
 * the next one: so this has to be called again and again. */
static inline void tell_of(struct ring *ring)
{
	uint16_t wish;

	if (ring->told == ring->shown)
		return;
	wish = ring->is_packed ? load(&ring->device.packed->flags) : load(&ring->device.split->flags);
	if (!(wish & SILENT)) {
		ring->told = ring->shown;
		eventfd_write(ring->kick_fd, 1);
	}
}

/* How many buffers are used and not taken back yet, as far as that is known; looks again if it is less than `enough`. */
static inline uint32_t used_split(struct ring *ring, uint32_t enough)
{
	if (ring->used - ring->taken < enough)
		ring->used += (uint16_t)(load(&ring->device.split->index) - (uint16_t)ring->used);
	return ring->used - ring->taken;
}

static inline int is_used_packed(const struct ring *ring, uint32_t n)
{
	uint16_t flags = load(&ring->descriptors.packed[slot_of(n)].flags);

	return (flags & (AVAILABLE | USED)) == used_in_lap(n);
}

/* Takes buffers that were sent back, if fewer than `enough` are free; returns how many are. In a packed ring, one
 * descriptor may tell of a whole batch, by its last buffer's id. */
static inline uint32_t free_to_send(struct ring *ring, uint32_t enough)
{
	uint32_t in_use = ring->written - ring->taken;

	if (RING - in_use >= enough)
		return RING - in_use;
	if (!ring->is_packed) {
		ring->taken += used_split(ring, RING);
		return RING - (ring->written - ring->taken);
	}
	while (ring->taken != ring->written && is_used_packed(ring, ring->taken))
		ring->taken += slot_of(ring->descriptors.packed[slot_of(ring->taken)].id - ring->taken) + 1;
	return RING - (ring->written - ring->taken);
}

/* How many of the next buffers were filled; not more than `most`. */
static inline uint32_t filled(struct ring *ring, uint32_t most)
{
	uint32_t n = 0;

	if (!ring->is_packed) {
		n = used_split(ring, 1);
		return n < most ? n : most;
	}
	while (n < most && is_used_packed(ring, ring->taken + n))
		n++;
	return n;
}

/* Of a filled buffer the bytes that were written, header included; 0 for one that is not in order. */
static inline uint32_t len_of(const struct ring *ring, uint32_t n)
{
	uint32_t slot = slot_of(n);

	if (ring->is_packed)
		return ring->descriptors.packed[slot].id == slot ? ring->descriptors.packed[slot].len : 0;
	return ring->device.split->used[slot].id == slot ? ring->device.split->used[slot].len : 0;
}

/* The bytes of shared memory that a ring takes. */
static size_t ring_bytes(uint32_t room) { return (size_t)RING * stride_for(room) + 16 * 4096 + RING * 16; }

static void make_ring(struct ring *ring, struct memory *memory, int is_packed, int receives, uint32_t room)
{
	ring->is_packed = is_packed;
	ring->receives = receives;
	ring->room = room;
	ring->stride = stride_for(room);
	ring->buffers = part_of(memory, (size_t)RING * ring->stride);
	ring->descriptors.split = part_of(memory, RING * sizeof(struct split_descriptor));
	ring->driver.split = part_of(memory, sizeof(struct split_driver));
	ring->device.split = part_of(memory, sizeof(struct split_device));
	if (is_packed) {
		ring->driver.packed->flags = SILENT;
		return;
	}
	ring->driver.split->flags = SILENT;
	for (unsigned slot = 0; slot < RING; slot++)
		ring->driver.split->slots[slot] = slot;
}

static void connect_ring(struct ring *ring, int link, uint32_t number)
{
	const void *parts[3] = {ring->descriptors.split, ring->driver.split, ring->device.split};

	ring->kick_fd = tell_ring(link, number, RING, ring->is_packed ? 0x80008000u : 0, parts);
}
