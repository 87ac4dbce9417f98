# Sends an ICMP echo request every so many milliseconds until standard input ends, then waits a second for late answers.
# Prints how many were sent, how many answers came twice, and of each that was not answered when it was sent.
import os, select, socket, struct, sys, time

address, interval = sys.argv[1], float(sys.argv[2]) / 1000
IDENTIFIER, LATE = os.getpid() & 0xFFFF, 1.0

sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sock.setblocking(False)
sent, answers = [], {}


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def send():
    head = struct.pack(">BBHHH", 8, 0, 0, IDENTIFIER, len(sent) & 0xFFFF)
    body = struct.pack(">Q", len(sent)) + bytes(48)
    sent.append(time.time())
    sock.sendto(head[:2] + struct.pack(">H", checksum(head + body)) + head[4:] + body, (address, 0))


def receive():
    try:
        while True:
            packet = sock.recv(2048)
            kind, _, _, identifier, _ = struct.unpack(">BBHHH", packet[20:28])
            if kind == 0 and identifier == IDENTIFIER:
                (number,) = struct.unpack(">Q", packet[28:36])
                answers[number] = answers.get(number, 0) + 1
    except BlockingIOError:
        pass


def wait(until, *others):
    """Takes answers in; true where one of the others became readable."""
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([sock, *others], [], [], left)
        receive()
        if any(other in ready for other in others):
            return True
    return False


print("pinging", flush=True)
due = time.monotonic()
while True:
    try:
        send()
    except OSError as error:
        print("not sent:", error, file=sys.stderr)
    due = max(due + interval, time.monotonic() - interval)
    if wait(due, sys.stdin):
        break
wait(time.monotonic() + LATE)
twice = sum(count - 1 for count in answers.values())
lost = [moment for number, moment in enumerate(sent) if number not in answers]
print("done", len(sent), twice, *(f"{moment:.6f}" for moment in lost), flush=True)
