"""Numbered datagrams of several flows.

flows.py sink SECONDS            tells how many came until none did for so long; fails where one came twice or after a later one
flows.py source ADDRESS FLOWS N  sends N datagrams of each flow, in turns
"""
import socket, sys, time

PORT = 7000
# Python has no name for it (asm-generic/socket.h).
SO_RCVBUFFORCE = 33

def sink(seconds):
    inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inbox.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    inbox.bind(("", PORT))
    print("listening", flush=True)
    last, came = {}, 0
    try:
        while True:
            data, flow = inbox.recvfrom(64)
            inbox.settimeout(seconds)
            number = int.from_bytes(data[:4], "big")
            if number <= last.get(flow, -1):
                sys.exit(f"{flow}: {number} came after {last[flow]}")
            last[flow] = number
            came += 1
    except TimeoutError:
        print("flows", len(last), "datagrams", came, flush=True)

def source(address, flows, count):
    outs = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for out in outs:
        out.connect((address, PORT))
    for number in range(count):
        for place, out in enumerate(outs, number * flows + 1):
            out.send(number.to_bytes(4, "big") + bytes(28))
            # Bursts that queues can take.
            if place % 16 == 0:
                time.sleep(0.002)

mode, *arguments = sys.argv[1:]
sink(float(*arguments)) if mode == "sink" else source(arguments[0], *map(int, arguments[1:]))
