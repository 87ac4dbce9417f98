# Sends frames out of an interface, each behind a vnet header: one in hexadecimal on each line of standard input, one
# line of answer, "ok" or the error, once the kernel took the frame.
import os, socket, sys

SOL_PACKET, PACKET_VNET_HDR = 263, 15
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
sock.bind((sys.argv[1], 0))
print("sending", file=sys.stderr, flush=True)
for line in sys.stdin:
    try:
        sock.send(bytes.fromhex(line))
        print("ok", flush=True)
    except OSError as error:
        print(os.strerror(error.errno), flush=True)
