# Serves one TCP connection: "sink PORT" reads it to its end, "source PORT BYTES" writes so many random bytes.
# Prints how many bytes passed and their SHA-256.
import hashlib, os, socket, sys

mode, port = sys.argv[1], int(sys.argv[2])
left = int(sys.argv[3]) if mode == "source" else 0
digest, count = hashlib.sha256(), 0
server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
connection, _ = server.accept()
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
connection.close()
print("done", count, digest.hexdigest(), flush=True)
