# A connection that notices every lost, doubled or swapped byte: numbers, four bytes each, a hundred a second.
# "serve ADDRESS PORT" checks that each number follows the one before; "send ADDRESS PORT" sends them until SIGTERM.
import signal, socket, struct, sys, time

mode, place = sys.argv[1], (sys.argv[2], int(sys.argv[3]))


def serve():
    server = socket.create_server(place)
    print("listening", flush=True)
    connection, _ = server.accept()
    stream, count = connection.makefile("rb"), 0
    while data := stream.read(4):
        if data != struct.pack(">I", count):
            sys.exit(f"broken: {data.hex()} in place of number {count}")
        count += 1
        if count % 10 == 0:
            print("received", count, flush=True)
    print("received", count, "end", flush=True)


def send():
    connection, count, going = socket.create_connection(place), 0, True
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("connected", flush=True)

    def stop(*_):
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    while going:
        connection.sendall(struct.pack(">I", count))
        count += 1
        time.sleep(0.01)
    connection.close()
    print("sent", count, flush=True)


serve() if mode == "serve" else send()
