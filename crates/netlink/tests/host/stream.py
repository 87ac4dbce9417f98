"""A TCP stream that tells whether a byte was lost: `listen ADDRESS` or `send ADDRESS STOPFILE`, over IPv4 or IPv6."""
import hashlib, os, socket, sys, time

mode, address = sys.argv[1:3]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if mode == "listen":
    server = socket.socket(family)
    server.bind((address, 7000))
    server.listen()
    print("ready", flush=True)
    peer, _ = server.accept()
    digest, count = hashlib.sha256(), 0
    while data := peer.recv(1 << 16):
        digest.update(data)
        count += len(data)
    peer.sendall(f"{count} {digest.hexdigest()}".encode())
else:
    peer = socket.create_connection((address, 7000), timeout=20)
    print("ready", flush=True)
    digest, count = hashlib.sha256(), 0
    while not os.path.exists(sys.argv[3]):
        data = os.urandom(8192)
        peer.sendall(data)
        digest.update(data)
        count += len(data)
        time.sleep(0.002)
    peer.shutdown(socket.SHUT_WR)
    sent, received = f"{count} {digest.hexdigest()}", peer.recv(200).decode()
    print(count if sent == received else f"sent {sent}, received {received}", flush=True)
