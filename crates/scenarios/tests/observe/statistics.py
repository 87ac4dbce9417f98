# Prints how many packets a pcapng file says are missing in it, and how many are there.
import struct
import sys

data = open(sys.argv[1], "rb").read()
at, packets, dropped = 0, 0, {}
while at + 12 <= len(data):
    kind, length = struct.unpack_from("<II", data, at)
    block = data[at : at + length]
    if len(block) < length:
        break
    at += length
    if kind == 6:
        packets += 1
    if kind == 5:
        (interface,) = struct.unpack_from("<I", block, 8)
        option = 20
        while option + 4 <= len(block) - 4:
            code, size = struct.unpack_from("<HH", block, option)
            if code == 5:
                (dropped[interface],) = struct.unpack_from("<Q", block, option + 4)
            option += 4 + (size + 3) // 4 * 4
print(sum(dropped.values()), packets)
