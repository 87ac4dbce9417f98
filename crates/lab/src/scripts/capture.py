# Writes every frame that passes an interface to standard output until standard input ends.
#
# Not tcpdump, for three reasons: a frame is known to need a checksum still (the kernel says so in PACKET_AUXDATA),
# the end is exact (what is queued when it is asked to stop is read first), and lost frames are reported.
#
# Record: length (u32), flags (u8: 1 outgoing, 2 checksum not filled in, 4 end of capture), bytes; little endian.
# The record at the end has the number of lost frames as its 4 bytes.
import os, select, socket, struct, sys

SOL_PACKET, PACKET_AUXDATA, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 8, 6, 33
CSUM_NOT_READY, VLAN_VALID, VLAN_TPID_VALID = 0x08, 0x10, 0x40

out = sys.stdout.buffer


def record(flags, data):
    out.write(struct.pack("<IB", len(data), flags) + data)


def read_one(sock):
    """Reads a frame, and puts back the VLAN tag that the kernel took out."""
    frame, control, _, address = sock.recvmsg(1 << 18, 256)
    flags = 1 if address[2] == socket.PACKET_OUTGOING else 0
    for level, kind, data in control:
        if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
            continue
        status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
        if status & CSUM_NOT_READY:
            flags |= 2
        if status & VLAN_VALID:
            tpid = tpid if status & VLAN_TPID_VALID else 0x8100
            frame = frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
    record(flags, frame)


def drain(sock):
    try:
        while True:
            read_one(sock)
    except BlockingIOError:
        out.flush()


def main():
    # Protocol 0 first: nothing is queued before the buffer is large and the interface is chosen.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 128 << 20)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setblocking(False)
    sock.bind((sys.argv[1], 3))  # ETH_P_ALL
    print("capturing", file=sys.stderr, flush=True)
    while True:
        ready, _, _ = select.select([sock, sys.stdin], [], [])
        drain(sock)
        if sys.stdin in ready and not os.read(0, 4096):
            break
    drain(sock)
    _, lost = struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    record(4, struct.pack("<I", lost))
    out.flush()


main()
