// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//
// Every frame that a queue of the interface receives goes to the socket that serves the queue. A queue without a socket
// has its frames dropped: on an interface that a switch has taken, nothing may reach the host's stack.
//
// Only linux/bpf.h is included, and the few lines of libbpf's headers that are needed stand here, so that building takes
// no libbpf-dev.

#include <linux/bpf.h>

#define SECTION(name) __attribute__((section(name), used))

static long (*const redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

// What libbpf makes a map from (BTF): each number is the length of an array. The loader sets how many queues there are.
struct {
	int (*type)[BPF_MAP_TYPE_XSKMAP];
	int (*max_entries)[1];
	__u32 *key;
	__u32 *value;
} sockets SECTION(".maps");

SECTION("xdp")
int to_switch(struct xdp_md *frame)
{
	return redirect_map(&sockets, frame->rx_queue_index, XDP_DROP);
}

char licence[] SECTION("license") = "Dual MIT/GPL";
