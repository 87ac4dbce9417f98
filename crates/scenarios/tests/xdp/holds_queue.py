"""Binds an AF_XDP socket to the first queue of an interface, without a program, and stays (linux/if_xdp.h)."""
import ctypes, mmap, socket, struct, sys, time

SOL_XDP, RX_RING, UMEM_REG, FILL_RING, COMPLETION_RING = 283, 2, 4, 5, 6
holder = socket.socket(44, socket.SOCK_RAW)
memory = mmap.mmap(-1, 64 * 4096)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
holder.setsockopt(SOL_XDP, UMEM_REG, struct.pack("QQIIII", start, len(memory), 4096, 0, 0, 0))
for ring in (RX_RING, FILL_RING, COMPLETION_RING):
    holder.setsockopt(SOL_XDP, ring, 64)
address = struct.pack("HHIII", 44, 0, socket.if_nametoindex(sys.argv[1]), 0, 0)
libc = ctypes.CDLL(None, use_errno=True)
if libc.bind(holder.fileno(), address, len(address)):
    sys.exit(f"bind: errno {ctypes.get_errno()}")
print("bound", flush=True)
time.sleep(600)
