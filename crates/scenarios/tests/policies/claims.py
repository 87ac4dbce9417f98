"""Frames that speak for IP addresses: some that a VM may send, and every way to speak for others' that is known.

claims.py MAC    prints for each frame from that MAC, whose IP guard lists 10.9.0.7 and fd00:9::7: what it is (allowed, spoofed), its
                 name, and its bytes in hexadecimal
"""
import sys
import scapy.config
scapy.config.conf.ipv6_enabled = False
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, IPOption, TCP, UDP
from scapy.layers.inet6 import (ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                ICMPv6ND_Redirect, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Dot3, Ether, LLC, SNAP
from scapy.packet import Raw

MAC = sys.argv[1]
OTHER_MAC = "02:00:00:00:0f:01"
OWN, OTHER = "10.9.0.7", "10.9.0.1"
OWN6, OTHER6, ROUTER = "fd00:9::7", "fd00:9::1", "fe80::1"
first = int(MAC[:2], 16) ^ 2
parts = [first] + [int(part, 16) for part in MAC.split(":")[1:]]
LINK_LOCAL = "fe80::%02x%02x:%02xff:fe%02x:%02x%02x" % tuple(parts)
EVERYBODY, ALL = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"

def show(kind, name, frame):
    print(kind, name, bytes(frame).hex())

def ether(*layers, to=EVERYBODY, kind=None):
    frame = Ether(src=MAC, dst=to) if kind is None else Ether(src=MAC, dst=to, type=kind)
    for layer in layers:
        frame = frame / layer
    return frame

def arp(sender, target, op="who-has", mac=MAC, **fields):
    return ARP(op=op, hwsrc=mac, psrc=sender, pdst=target, **fields)

def v4(source, *layers, **fields):
    packet = IP(src=source, dst="10.9.0.3", **fields)
    for layer in layers:
        packet = packet / layer
    return packet

def v6(source, *layers, to="ff02::1", **fields):
    packet = IPv6(src=source, dst=to, hlim=255, **fields)
    for layer in layers:
        packet = packet / layer
    return packet

def snap(packet, code, oui=0, length=None):
    inner = LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=oui, code=code) / packet
    return Dot3(src=MAC, dst=EVERYBODY, len=length if length is not None else len(bytes(inner))) / inner

def behind_tags(frame, tags):
    raw = bytes(frame)
    return raw[:12] + bytes.fromhex(tags) + raw[12:]

def na(target):
    return ICMPv6ND_NA(tgt=target, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC)

def ns(target):
    return ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=MAC)

# ARP and RARP.
show("allowed", "a question", ether(arp(OWN, OTHER)))
show("allowed", "an answer", ether(arp(OWN, OTHER, op="is-at"), to=OTHER_MAC))
show("allowed", "an announcement", ether(arp(OWN, OWN)))
show("allowed", "a gratuitous answer", ether(arp(OWN, OWN, op="is-at")))
show("allowed", "a probe of the own address", ether(arp("0.0.0.0", OWN)))
show("allowed", "a question in a VLAN", ether(Dot1Q(vlan=7), arp(OWN, OTHER)))
show("allowed", "a question in LLC/SNAP", snap(arp(OWN, OTHER), 0x0806))
show("allowed", "an announcement in RARP as QEMU makes it after a migration",
     ether(ARP(op=3, hwsrc=MAC, hwdst=MAC, psrc="0.0.0.0", pdst="0.0.0.0"), kind=0x8035))
show("spoofed", "a question for another", ether(arp(OTHER, OWN)))
show("spoofed", "an answer for another", ether(arp(OTHER, "10.9.0.3", op="is-at"), to=OTHER_MAC))
show("spoofed", "an announcement of another's address", ether(arp(OTHER, OTHER)))
show("spoofed", "a gratuitous answer for another", ether(arp(OTHER, OTHER, op="is-at")))
show("spoofed", "a probe of another's address", ether(arp("0.0.0.0", OTHER)))
show("spoofed", "the own address at another's MAC", ether(arp(OWN, OTHER, op="is-at", mac=OTHER_MAC)))
show("spoofed", "an answer for another in a VLAN", ether(Dot1Q(vlan=7), arp(OTHER, OWN, op="is-at")))
show("spoofed", "an answer for another in two VLANs", ether(Dot1AD(vlan=7), Dot1Q(vlan=8), arp(OTHER, OWN, op="is-at")))
show("spoofed", "an answer for another behind an old service tag", behind_tags(ether(arp(OTHER, OWN, op="is-at")), "91000007"))
show("spoofed", "an answer for another in LLC/SNAP", snap(arp(OTHER, OWN, op="is-at"), 0x0806))
show("spoofed", "an answer for another in LLC/SNAP of 802.1H", snap(arp(OTHER, OWN, op="is-at"), 0x0806, oui=0xf8))
show("spoofed", "an answer for another in LLC/SNAP with a wrong length", snap(arp(OTHER, OWN, op="is-at"), 0x0806, length=0))
show("spoofed", "an answer for another in LLC/SNAP behind a tag", behind_tags(snap(arp(OTHER, OWN, op="is-at"), 0x0806), "81000007"))
show("spoofed", "an answer for another behind more tags than are looked at",
     behind_tags(ether(arp(OTHER, OWN, op="is-at")), "88a80007" + "91000007" * 30))
show("spoofed", "ARP of another hardware", ether(arp(OWN, OTHER, hwtype=15)))
show("spoofed", "ARP of another protocol", ether(ARP(hwsrc=MAC, psrc=OWN, pdst=OTHER, ptype=0x86dd)))
show("spoofed", "ARP with a length of its own", ether(Raw(bytes.fromhex("0001080006100001") + bytes(40)), kind=0x0806))
show("spoofed", "ARP cut off", ether(Raw(bytes(arp(OWN, OTHER))[:27]), kind=0x0806))
show("spoofed", "RARP for another", ether(ARP(op=4, hwsrc=MAC, hwdst=OTHER_MAC, psrc=OWN, pdst=OTHER), kind=0x8035))

# IPv4.
data = [UDP(sport=1000, dport=2000), Raw(b"abc")]
request = BOOTP(op=1, chaddr=bytes(6), xid=7) / DHCP(options=[("message-type", "discover"), "end"])
client = [UDP(sport=68, dport=67), request]
show("allowed", "a datagram", ether(v4(OWN, *data)))
show("allowed", "a datagram in a VLAN", ether(Dot1Q(vlan=7), v4(OWN, *data)))
show("allowed", "a datagram behind options", ether(v4(OWN, *data, options=[IPOption(b"\x01")] * 40)))
show("allowed", "a first fragment", ether(v4(OWN, *data, flags="MF", id=9)))
show("allowed", "a later fragment", ether(v4(OWN, Raw(bytes(40)), frag=1, id=9)))
show("allowed", "a DHCP client's request", ether(IP(src="0.0.0.0", dst="255.255.255.255"), *client))
show("allowed", "IGMP without address", ether(v4("0.0.0.0", Raw(bytes.fromhex("2200f9fd00000000")), proto=2)))
for name, source in [("another's", OTHER), ("no", "0.0.0.0"), ("a multicast", "224.0.0.1"), ("the broadcast", "255.255.255.255"),
                     ("the loopback", "127.0.0.1")]:
    show("spoofed", f"a datagram from {name} address", ether(v4(source, *data)))
show("spoofed", "a connection", ether(v4(OTHER, TCP(flags="S"))))
show("spoofed", "a datagram in a VLAN from another", ether(Dot1Q(vlan=7), v4(OTHER, *data)))
show("spoofed", "a datagram in two VLANs from another", ether(Dot1AD(vlan=7), Dot1Q(vlan=8), v4(OTHER, *data)))
show("spoofed", "a datagram in LLC/SNAP from another", snap(v4(OTHER, *data), 0x0800))
show("spoofed", "a datagram behind options from another", ether(v4(OTHER, *data, options=[IPOption(b"\x01")] * 40)))
show("spoofed", "a first fragment from another", ether(v4(OTHER, *data, flags="MF", id=9)))
show("spoofed", "a later fragment from another", ether(v4(OTHER, Raw(bytes(40)), frag=1, id=9)))
show("spoofed", "a DHCP server's answer from no address", ether(v4("0.0.0.0", UDP(sport=67, dport=68), request)))
show("spoofed", "a first fragment of a request from no address", ether(v4("0.0.0.0", *client, flags="MF", id=9)))
show("spoofed", "an echo from no address", ether(v4("0.0.0.0", ICMP())))
show("spoofed", "IPv4 of another version", ether(v4(OWN, *data, version=5)))
show("spoofed", "an IPv4 header that is too short", ether(v4(OWN, *data, ihl=4)))
show("spoofed", "an IPv4 header longer than the frame", ether(bytes(v4(OWN, ihl=15, proto=17)), kind=0x0800))

# IPv6.
data6 = [UDP(sport=1000, dport=2000), Raw(b"abc")]
for name, own in [("the own address", OWN6), ("the address of the link", LINK_LOCAL)]:
    show("allowed", f"a datagram from {name}", ether(v6(own, *data6), to=ALL))
    show("allowed", f"advertisement of {name}", ether(v6(own, na(own)), to=ALL))
    show("allowed", f"solicitation from {name}", ether(v6(own, ns(ROUTER)), to=ALL))
    show("allowed", f"probe of {name}", ether(v6("::", ICMPv6ND_NS(tgt=own)), to=ALL))
show("allowed", "advertisement from the link's address of the own one", ether(v6(LINK_LOCAL, na(OWN6)), to=ALL))
show("allowed", "router solicitation", ether(v6(LINK_LOCAL, ICMPv6ND_RS()), to=ALL))
show("allowed", "router solicitation from no address", ether(v6("::", ICMPv6ND_RS()), to=ALL))
show("allowed", "listener's report from no address", ether(v6("::", IPv6ExtHdrHopByHop(), ICMPv6MLReport2()), to=ALL))
show("allowed", "echo behind extensions", ether(v6(OWN6, IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), ICMPv6EchoRequest()), to=ALL))
show("allowed", "a first fragment of IPv6", ether(v6(OWN6, IPv6ExtHdrFragment(m=1, id=1), ICMPv6EchoReply()), to=ALL))
show("allowed", "a later fragment of IPv6", ether(v6(OWN6, IPv6ExtHdrFragment(offset=1, id=1), Raw(bytes(16))), to=ALL))
for name, other in [("another", OTHER6), ("a router", ROUTER), ("an IPv4-mapped address", "::ffff:10.9.0.7"),
                    ("an IPv4-compatible address", "::10.9.0.7"), ("a group", "ff02::1"), ("the loopback", "::1")]:
    show("spoofed", f"a datagram of IPv6 from {name}", ether(v6(other, *data6), to=ALL))
    show("spoofed", f"advertisement from {name}", ether(v6(other, na(OWN6)), to=ALL))
    show("spoofed", f"solicitation from {name}", ether(v6(other, ns(OWN6)), to=ALL))
for name, other in [("another", OTHER6), ("a router", ROUTER)]:
    show("spoofed", f"advertisement for {name}", ether(v6(OWN6, na(other)), to=ALL))
    show("spoofed", f"advertisement from the link's address for {name}", ether(v6(LINK_LOCAL, na(other)), to=ALL))
    show("spoofed", f"probe of the address of {name}", ether(v6("::", ICMPv6ND_NS(tgt=other)), to=ALL))
    show("spoofed", f"router solicitation from {name}", ether(v6(other, ICMPv6ND_RS()), to=ALL))
    show("spoofed", f"router advertisement from {name}", ether(v6(other, ICMPv6ND_RA()), to=ALL))
    show("spoofed", f"redirect from {name}", ether(v6(other, ICMPv6ND_Redirect(tgt=OWN6, dst="fd00:9::3")), to=ALL))
show("spoofed", "advertisement from no address", ether(v6("::", na(OWN6)), to=ALL))
show("spoofed", "echo from no address", ether(v6("::", ICMPv6EchoRequest()), to=ALL))
show("spoofed", "datagram from no address", ether(v6("::", UDP(sport=546, dport=547), Raw(b"abc")), to=ALL))
show("spoofed", "advertisement for another in a VLAN", ether(Dot1Q(vlan=7), v6(OWN6, na(OTHER6)), to=ALL))
show("spoofed", "advertisement for another in LLC/SNAP", snap(v6(OWN6, na(OTHER6)), 0x86dd))
for name, extensions in [("hop-by-hop options", [IPv6ExtHdrHopByHop()]), ("a routing header", [IPv6ExtHdrRouting()]),
                         ("destination options", [IPv6ExtHdrDestOpt()]),
                         ("three", [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting()])]:
    show("spoofed", f"advertisement for another behind {name}", ether(v6(OWN6, *extensions, na(OTHER6)), to=ALL))
show("spoofed", "advertisement in a first fragment", ether(v6(OWN6, IPv6ExtHdrFragment(m=1, id=1), na(OWN6)), to=ALL))
show("spoofed", "advertisement in an atomic fragment", ether(v6(OWN6, IPv6ExtHdrFragment(id=1), na(OTHER6)), to=ALL))
show("spoofed", "first fragment to be overlapped behind an extension",
     ether(v6(OWN6, IPv6ExtHdrFragment(m=1, id=1), IPv6ExtHdrDestOpt(), ICMPv6EchoRequest()), to=ALL))
show("spoofed", "advertisement behind an extension longer than what is looked at",
     ether(v6(OWN6, IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))]), na(OTHER6)), to=ALL))
show("spoofed", "advertisement cut off in its target", ether(Raw(bytes(v6(OWN6, na(OTHER6)))[:60]), to=ALL, kind=0x86dd))
show("spoofed", "a later fragment of IPv6 from another", ether(v6(OTHER6, IPv6ExtHdrFragment(offset=1, id=1), Raw(bytes(16))), to=ALL))
show("spoofed", "IPv6 of another version", ether(v6(OWN6, *data6, version=4), to=ALL, kind=0x86dd))
show("spoofed", "IPv4 that says it is IPv6", ether(v4(OWN, *data), kind=0x86dd))

# What is neither.
show("allowed", "LLDP", ether(Raw(bytes.fromhex("0207040000000000010000")), to="01:80:c2:00:01:00", kind=0x88cc))
show("allowed", "a vendor's protocol in LLC/SNAP", snap(Raw(bytes(40)), 0x0800, oui=0x00000c))
