# Serves one TCP connection: "sink PORT" reads it to its end, "source PORT BYTES [RATE]" writes so many random bytes,
# RATE of them a second.
# Prints how many bytes passed and their SHA-256.
import hashlib, os, socket, sys, time

mode, port = sys.argv[1], int(sys.argv[2])
left = int(sys.argv[3]) if mode == "source" else 0
rate = int(sys.argv[4]) if len(sys.argv) > 4 else None
digest, count = hashlib.sha256(), 0
server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
connection, _ = server.accept()
begin = time.monotonic()
while mode == "sink":
    chunk = connection.recv(1 << 18)
    if not chunk:
        break
    digest.update(chunk)
    count += len(chunk)
while left:
    chunk = os.urandom(min(left, 1 << 18))
    connection.sendall(chunk)
    digest.update(chunk)
    count += len(chunk)
    left -= len(chunk)
    if rate:
        time.sleep(max(0, begin + count / rate - time.monotonic()))
connection.close()
print("done", count, digest.hexdigest(), flush=True)
