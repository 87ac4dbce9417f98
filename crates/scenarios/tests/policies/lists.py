"""Frames for an access list that denies TCP port 22.

lists.py MAC    prints for each frame from that MAC: what it is (ssh: what is denied; hidden: what could be that; other), its name, and
                its bytes in hexadecimal
"""
import sys
import scapy.config
scapy.config.conf.ipv6_enabled = False
from scapy.layers.inet import ICMP, IP, IPOption, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import ARP, Dot3, Ether, LLC, SNAP
from scapy.packet import Raw

MAC = sys.argv[1]
ALL = "ff:ff:ff:ff:ff:ff"

def show(kind, name, frame):
    print(kind, name, bytes(frame).ljust(60, b"\0").hex())

def ether(*layers):
    frame = Ether(src=MAC, dst=ALL)
    if isinstance(layers[0], bytes):
        frame.type = 0x86dd if layers[0][0] >> 4 == 6 else 0x0800
    for layer in layers:
        frame = frame / layer
    return frame

def v4(**fields):
    return IP(src="10.9.0.66", dst="10.9.0.9", **fields)

def v6(src="fd00::66", **fields):
    return IPv6(src=src, dst="fd00::9", **fields)

def ssh():
    return TCP(sport=40000, dport=22, flags="S", seq=7)

SNAP_HEADER = LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=0, code=0x0800)

show("ssh", "plain", ether(v4(), ssh()))
show("ssh", "over IPv6", ether(v6(), ssh()))
show("ssh", "behind options", ether(v4(options=[IPOption(b"\x94\x04\0\0")]), ssh()))
show("ssh", "behind extensions", ether(v6(), IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]), IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]), ssh()))
show("ssh", "in SNAP", Dot3(src=MAC, dst=ALL) / SNAP_HEADER / v4() / ssh())
show("ssh", "a first fragment", ether(v4(flags="MF", id=9), ssh(), Raw(b"x" * 4)))
show("ssh", "a first fragment over IPv6", ether(v6(), IPv6ExtHdrFragment(m=1, id=9), ssh(), Raw(b"x" * 4)))
show("ssh", "an atomic fragment", ether(v6(), IPv6ExtHdrFragment(m=0, id=9), ssh()))
# Its checksum is left partial, which makes no difference to what it is.
show("ssh", "without its checksum", ether(v4(), TCP(sport=40000, dport=22, flags="S", chksum=0xffff)))

show("hidden", "a first fragment of eight bytes", (bytes(ether(v4(flags="MF", id=9, len=28, proto=6), bytes(ssh())[:8]))[:42]).ljust(42, b"\0"))
show("hidden", "a later fragment of TCP", ether(v4(frag=3, proto=6, id=9), Raw(b"x" * 24)))
show("hidden", "one that would overlap the flags", ether(v4(frag=1, proto=6, id=9), Raw(b"x" * 24)))
show("hidden", "a later fragment over IPv6", ether(v6(), IPv6ExtHdrFragment(offset=3, m=0, id=9, nh=17), Raw(b"x" * 24)))
show("hidden", "an extension in a fragment", ether(v6(), IPv6ExtHdrFragment(m=1, id=9), IPv6ExtHdrDestOpt(), ssh()))
show("hidden", "a chain longer than what is looked at", ether(v6(), IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 100)]), ssh()))

show("other", "another port", ether(v4(), TCP(sport=40000, dport=23, flags="S")))
show("other", "from that port", ether(v4(), TCP(sport=22, dport=40000, flags="SA")))
show("other", "UDP to that port", ether(v4(), UDP(sport=40000, dport=22), Raw(b"x" * 20)))
show("other", "ICMP", ether(v4(), ICMP(), Raw(b"x" * 20)))
show("other", "a later fragment of UDP", ether(v4(frag=3, proto=17, id=9), Raw(b"x" * 24)))
show("other", "ARP", ether(ARP(op="who-has", psrc="10.9.0.66", pdst="10.9.0.9", hwsrc=MAC)))
show("other", "ARP in SNAP", Dot3(src=MAC, dst=ALL) / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=0, code=0x0806) / ARP(psrc="10.9.0.66", pdst="10.9.0.9", hwsrc=MAC))
