# Sends random bytes over TCP, some 20 MB a second, until the file STOP exists: `ADDRESS PORT STOP`.
# Says how far it is, and at the end how many bytes it sent and their SHA-256.
import hashlib, os, socket, sys, time

address, port, stop = sys.argv[1:]
digest, count = hashlib.sha256(), 0
connection = socket.create_connection((address, int(port)), timeout=60)
while not os.path.exists(stop):
    chunk = os.urandom(20_000)
    connection.sendall(chunk)
    digest.update(chunk)
    count += len(chunk)
    if count % 400_000 == 0:
        print("sent", count, flush=True)
    time.sleep(0.001)
connection.close()
print("done", count, digest.hexdigest(), flush=True)
