"""Numbered datagrams of several flows.

flows.py sink N                  tells how many came until so many did, or none for a while; fails where one came twice or after
                                 a later one
flows.py source ADDRESS FLOWS N  sends N datagrams of each flow, in turns
"""
import socket, sys, time

PORT = 7000
# Python has no name for it (asm-generic/socket.h).
SO_RCVBUFFORCE = 33
# Longer than other programs keep a source from its turn.
SILENCE_S = 20.0
# Bursts that queues can take, with time for a switch that is built without optimisation, and has no CPU to itself, to take them.
BURST, PAUSE_S = 16, 0.01

def sink(count):
    inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inbox.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    inbox.bind(("", PORT))
    print("listening", flush=True)
    last, came = {}, 0
    try:
        while came < count:
            data, flow = inbox.recvfrom(64)
            inbox.settimeout(SILENCE_S)
            number = int.from_bytes(data[:4], "big")
            if number <= last.get(flow, -1):
                sys.exit(f"{flow}: {number} came after {last[flow]}")
            last[flow] = number
            came += 1
    except TimeoutError:
        pass
    print("flows", len(last), "datagrams", came, flush=True)

def source(address, flows, count):
    outs = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for out in outs:
        out.connect((address, PORT))
    for number in range(count):
        for place, out in enumerate(outs, number * flows + 1):
            out.send(number.to_bytes(4, "big") + bytes(28))
            if place % BURST == 0:
                time.sleep(PAUSE_S)

mode, *arguments = sys.argv[1:]
sink(int(*arguments)) if mode == "sink" else source(arguments[0], *map(int, arguments[1:]))
