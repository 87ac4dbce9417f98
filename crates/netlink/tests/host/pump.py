"""A data path for tests: carries frames between a NIC and a TAP, whole, with their offload headers."""
import fcntl, os, select, socket, struct, sys

nic, tap_name = sys.argv[1:]
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
wire.bind((nic, 3))
tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", tap_name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", 10))
fcntl.ioctl(tap, TUNSETOFFLOAD, 7)
print("ready", flush=True)
while True:
    for ready in select.select([wire, tap], [], [])[0]:
        try:
            if ready is wire:
                os.write(tap, wire.recv(1 << 17))
            else:
                wire.send(os.read(tap, 1 << 17))
        except OSError:
            pass
