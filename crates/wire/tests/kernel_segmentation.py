"""Has the kernel finish frames in software: run inside a network namespace of its own.

Each line of standard input is a vnet header and a frame in hexadecimal. The frame is sent with its header into a
TAP device that offers no offload, so the kernel has to cut it and complete its checksums before the device's
reader gets it. Each line of standard output holds what the reader got, the frames separated by commas.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SOL_PACKET, PACKET_VNET_HDR = 263, 15
NAME = "tap0"
TIMEOUT_MS = 10_000
# Sent behind each frame, and read behind all that the kernel made of it (EtherType for local experiments).
MARKER = bytes([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xB5]) + bytes(46)
NO_OFFLOAD = bytes(10)


def open_tap():
    # Without IPv6 of its own the kernel sends nothing into the device by itself.
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as setting:
        setting.write("1")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TAP | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", NAME, "mtu", "9000", "up"], check=True)
    return tap


def open_sender():
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sender.bind((NAME, 0))
    return sender


def received(tap):
    poll = select.poll()
    poll.register(tap, select.POLLIN)
    while poll.poll(TIMEOUT_MS):
        frame = os.read(tap, 1 << 17)
        if frame == MARKER:
            return
        yield frame
    raise TimeoutError("the marker did not arrive")


def main():
    tap, sender = open_tap(), open_sender()
    for line in sys.stdin:
        sender.send(bytes.fromhex(line))
        sender.send(NO_OFFLOAD + MARKER)
        print(",".join(frame.hex() for frame in received(tap)))


main()
