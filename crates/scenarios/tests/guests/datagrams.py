# "source ADDRESS" sends numbered datagrams, 30 with each call, and leaves cutting them to the kernel or to whoever
# comes after it; "sink" receives until it has the last one. Both print how many there were and their SHA-256.
import hashlib, os, socket, sys, time

PORT, SIZE, CALLS, EACH = 5002, 1400, 40, 30
SO_RCVBUFFORCE, SOL_UDP, UDP_SEGMENT = 33, 17, 103
digest, count = hashlib.sha256(), 0


def add(data):
    global count
    digest.update(data)
    count += 1


def source(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    out = socket.socket(family, socket.SOCK_DGRAM)
    out.setsockopt(SOL_UDP, UDP_SEGMENT, SIZE)
    for _ in range(CALLS):
        datagrams = [os.urandom(SIZE) for _ in range(EACH)]
        for datagram in datagrams:
            add(datagram)
        out.sendto(b"".join(datagrams), (address, PORT))
        # Nothing slows a sender of datagrams down, and no queue on the way holds all of them.
        time.sleep(0.001)


def sink():
    into = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    into.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    into.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    into.bind(("::", PORT))
    into.settimeout(5)
    print("listening", flush=True)
    while count < CALLS * EACH:
        add(into.recv(1 << 16))


sink() if sys.argv[1] == "sink" else source(sys.argv[2])
print(count, digest.hexdigest(), flush=True)
