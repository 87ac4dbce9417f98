"""Frames that a VM may want to get past its guards, and some that it may send.

evasions.py MAC    prints for each frame from that MAC: what it is (dhcp, router: for that guard; hidden: for either; allowed; or why no
                   port lets it in), its
                   name, and its bytes in hexadecimal
"""
import sys
import scapy.config
scapy.config.conf.ipv6_enabled = False
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (DHCP6_Advertise, DHCP6_Reconf, DHCP6_RelayForward, DHCP6_RelayReply, DHCP6_Reply, DHCP6_Request,
                                DHCP6_Solicit)
from scapy.layers.inet import ICMP, IP, IPOption, UDP
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect,
                                ICMPv6ND_RS, ICMPv6NDOptPrefixInfo, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Jumbo, PadN)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Dot3, Ether, LLC, SNAP
from scapy.packet import Raw

MAC = sys.argv[1]
ALL = "33:33:00:00:00:01"
EVERYBODY = "ff:ff:ff:ff:ff:ff"

def show(kind, name, frame):
    print(kind, name, bytes(frame).hex())

def ether(*layers, to=ALL):
    frame = Ether(src=MAC, dst=to)
    if isinstance(layers[0], bytes):
        frame.type = 0x86dd if layers[0][0] >> 4 == 6 else 0x0800
    for layer in layers:
        frame = frame / layer
    return frame

def v6(**fields):
    return IPv6(src="fe80::66", dst="ff02::1", hlim=255, **fields)

def v4(**fields):
    return IP(src="10.9.0.66", dst="255.255.255.255", **fields)

def ra():
    return ICMPv6ND_RA() / ICMPv6NDOptPrefixInfo(prefix="fd66::", prefixlen=64)

def message(op, kind):
    return BOOTP(op=op, yiaddr="10.9.0.77", siaddr="10.9.0.66", xid=7) / DHCP(options=[("message-type", kind), "end"])

def snap(packet, oui=0, length=None, code=0x86dd):
    inner = LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=oui, code=code) / packet
    return Dot3(src=MAC, dst=ALL, len=length if length is not None else len(bytes(inner))) / inner

def behind_tags(frame, tags):
    raw = bytes(frame)
    return raw[:12] + bytes.fromhex(tags) + raw[12:]

def cut(packet, layer):
    """The packet up to the end of that layer's own header."""
    return bytes(packet)[:len(bytes(packet)) - len(bytes(packet[layer].payload))]

# What the router guard is for.
show("router", "advertisement", ether(v6(), ra()))
show("router", "redirect", ether(v6(), ICMPv6ND_Redirect(tgt="fe80::66", dst="fd00:9::3")))
show("router", "redirect of IPv4", ether(v4(), ICMP(type=5, code=1, gw="10.9.0.66"), Raw(bytes(28)), to=EVERYBODY))
show("router", "advertisement of IPv4", ether(v4(), ICMP(type=9), Raw(bytes(8)), to=EVERYBODY))
show("router", "with a wrong checksum", ether(v6(), ICMPv6ND_RA(cksum=0x1234)))
show("router", "with a checksum left partial", ether(v6(), ICMPv6ND_RA(cksum=0)))
show("router", "in a VLAN", ether(Dot1Q(vlan=7), v6(), ra()))
show("vlan_not_allowed", "in VLAN 4095", ether(Dot1Q(vlan=4095), v6(), ra()))
show("router", "with a priority tag", ether(Dot1Q(vlan=0, prio=5), v6(), ra()))
show("double_tag", "with two tags of VLAN 0", ether(Dot1Q(vlan=0), Dot1Q(vlan=0), v6(), ra()))
show("router", "with three tags", ether(Dot1AD(vlan=7), Dot1Q(vlan=0), Dot1Q(vlan=0), v6(), ra()))
show("router", "with a service tag", ether(Dot1AD(vlan=7), v6(), ra()))
show("router", "with a service tag and a tag", ether(Dot1AD(vlan=7), Dot1Q(vlan=8), v6(), ra()))
show("router", "with a service tag of before 802.1ad", behind_tags(ether(v6(), ra()), "91000007"))
show("router", "in LLC/SNAP", snap(v6() / ra()))
show("router", "in LLC/SNAP of 802.1H", snap(v6() / ra(), oui=0xf8))
show("router", "in LLC/SNAP with a length of zero", snap(v6() / ra(), length=0))
show("router", "in LLC/SNAP with too long a length", snap(v6() / ra(), length=1535))
show("router", "in LLC/SNAP behind a tag of VLAN 0", behind_tags(snap(v6() / ra()), "81000000"))
show("router", "behind a tag of VLAN 0 in LLC/SNAP", snap(Dot1Q(vlan=0, type=0x86dd) / v6() / ra(), code=0x8100))
show("router", "behind hop-by-hop options", ether(v6(), IPv6ExtHdrHopByHop(), ra()))
show("router", "behind destination options", ether(v6(), IPv6ExtHdrDestOpt(), ra()))
show("router", "behind a routing header", ether(v6(), IPv6ExtHdrRouting(), ra()))
show("router", "behind three kinds of extensions",
     ether(v6(), IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(), IPv6ExtHdrDestOpt(), ra()))
show("router", "in a jumbogram", ether(v6(plen=0), IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70000)]), ra()))
show("router", "with a payload length of zero", ether(v6(plen=0), ra()))
show("router", "in a first fragment", ether(v6(), IPv6ExtHdrFragment(m=1, id=1), ra()))
show("router", "in an atomic fragment", ether(v6(), IPv6ExtHdrFragment(id=2), ra()))
show("router", "redirect of IPv4 behind options",
     ether(v4(options=[IPOption(b"\x01")] * 40), ICMP(type=5, code=1), Raw(bytes(28)), to=EVERYBODY))
show("router", "redirect of IPv4 in a first fragment", ether(v4(flags="MF"), ICMP(type=5), Raw(bytes(8)), to=EVERYBODY))

# What hides its cargo.
first = IPv6ExtHdrFragment(m=1, id=3)
show("hidden", "first fragment that ends before the transport header",
     ether(cut(v6() / first / IPv6ExtHdrDestOpt(nh=58) / Raw(b"x"), IPv6ExtHdrDestOpt)))
show("hidden", "first fragment that ends behind its fragment header",
     ether(cut(v6() / IPv6ExtHdrFragment(m=1, id=4, nh=58) / Raw(b"x"), IPv6ExtHdrFragment)))
show("hidden", "first fragment to be overlapped behind an extension",
     ether(v6(), IPv6ExtHdrFragment(m=1, id=5), IPv6ExtHdrDestOpt(), ICMPv6EchoRequest()))
show("hidden", "atomic fragment to be overlapped behind an extension",
     ether(v6(), IPv6ExtHdrFragment(id=6), IPv6ExtHdrDestOpt(), ICMPv6EchoRequest()))
show("hidden", "fragments in fragments", ether(v6(), IPv6ExtHdrFragment(m=1, id=7), IPv6ExtHdrFragment(m=1, id=8), ra()))
show("hidden", "an extension longer than what is looked at",
     ether(v6(), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))]), ra()))
show("hidden", "more extensions than what is looked at", ether(v6(), *[IPv6ExtHdrDestOpt() for _ in range(12)], ra()))
show("double_tag", "more tags than what is looked at", behind_tags(ether(v6(), ra()), "81000000" * 30))
show("hidden", "an extension cut off", ether(cut(v6() / IPv6ExtHdrDestOpt(nh=58, len=3) / ra(), IPv6ExtHdrDestOpt)))
show("hidden", "an IPv4 header longer than the frame", ether(bytes(v4(ihl=15, proto=17)), to=EVERYBODY))
show("hidden", "an IPv4 header of another version", ether(v4(version=5), UDP(sport=67, dport=68), to=EVERYBODY))

# What the DHCP guard is for.
server = UDP(sport=67, dport=68)
show("dhcp", "offer", ether(v4(), server, message(2, "offer"), to=EVERYBODY))
show("dhcp", "ack", ether(v4(), server, message(2, "ack"), to=EVERYBODY))
show("dhcp", "answer to a relay", ether(v4(), UDP(sport=67, dport=67), message(2, "ack"), to=EVERYBODY))
show("dhcp", "offer from another port", ether(v4(), UDP(sport=4011, dport=68), message(2, "offer"), to=EVERYBODY))
show("dhcp", "offer that says it is a request", ether(v4(), server, message(1, "offer"), to=EVERYBODY))
show("dhcp", "offer with a checksum left partial", ether(v4(), UDP(sport=67, dport=68, chksum=0), message(2, "offer"), to=EVERYBODY))
show("dhcp", "offer in two VLANs", ether(Dot1AD(vlan=7), Dot1Q(vlan=0), v4(), server, message(2, "offer"), to=EVERYBODY))
show("dhcp", "offer in LLC/SNAP", snap(v4() / server / message(2, "offer"), code=0x0800))
show("dhcp", "offer behind IPv4 options",
     ether(v4(options=[IPOption(b"\x01")] * 40), server, message(2, "offer"), to=EVERYBODY))
show("dhcp", "offer in a first fragment", ether(v4(flags="MF", id=9), server, message(2, "offer"), to=EVERYBODY))
show("dhcp", "offer in a tiny first fragment", ether(cut(v4(flags="MF", id=10) / UDP(sport=67, dport=68, len=300) / Raw(b"x"), UDP), to=EVERYBODY))
show("dhcp", "first fragment of a request to be overlapped",
     ether(v4(flags="MF", id=11), UDP(sport=68, dport=67), message(1, "request"), to=EVERYBODY))
server6 = UDP(sport=547, dport=546)
show("dhcp", "advertise", ether(v6(), server6, DHCP6_Advertise(trid=1)))
show("dhcp", "reply", ether(v6(), server6, DHCP6_Reply(trid=1)))
show("dhcp", "reply from another port", ether(v6(), UDP(sport=1547, dport=546), DHCP6_Reply(trid=1)))
show("dhcp", "reconfigure", ether(v6(), server6, DHCP6_Reconf(trid=0)))
show("dhcp", "relay-reply", ether(v6(), UDP(sport=547, dport=547), DHCP6_RelayReply()))
show("dhcp", "reply behind extensions", ether(v6(), IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), server6, DHCP6_Reply(trid=1)))
show("dhcp", "reply in a first fragment", ether(v6(), IPv6ExtHdrFragment(m=1, id=12), server6, DHCP6_Reply(trid=1)))

# What a VM may send.
client, client6 = UDP(sport=68, dport=67), UDP(sport=546, dport=547)
show("allowed", "discover", ether(v4(), client, message(1, "discover"), to=EVERYBODY))
show("allowed", "request through a relay", ether(v4(), UDP(sport=67, dport=67), message(1, "request"), to=EVERYBODY))
show("allowed", "solicit", ether(v6(), client6, DHCP6_Solicit(trid=1)))
show("allowed", "request of DHCPv6", ether(v6(), client6, DHCP6_Request(trid=1)))
show("allowed", "relay-forward", ether(v6(), UDP(sport=547, dport=547), DHCP6_RelayForward()))
show("allowed", "router solicitation", ether(v6(), ICMPv6ND_RS()))
show("allowed", "router solicitation of IPv4", ether(v4(), ICMP(type=10), to=EVERYBODY))
show("allowed", "neighbour solicitation", ether(v6(), ICMPv6ND_NS(tgt="fe80::3")))
show("allowed", "neighbour advertisement", ether(v6(), ICMPv6ND_NA(tgt="fe80::66")))
show("allowed", "multicast listener report", ether(v6(), IPv6ExtHdrHopByHop(), ICMPv6MLReport2()))
show("allowed", "echo", ether(v6(), ICMPv6EchoRequest()))
show("allowed", "datagram", ether(v4(), UDP(sport=53, dport=1068), Raw(b"abc"), to=EVERYBODY))
show("allowed", "later fragment", ether(v6(), IPv6ExtHdrFragment(offset=1, id=5), ra()))
show("allowed", "later fragment of IPv4", ether(v4(frag=1, id=11), Raw(bytes([2]) + bytes(40)), to=EVERYBODY))
show("allowed", "UDP-Lite, which no DHCP client reads", ether(v4(proto=136), UDP(sport=67, dport=68), to=EVERYBODY))
show("allowed", "no next header", ether(v6(nh=59), Raw(bytes(ra()))))
show("allowed", "a tunnel's packet", ether(v6(nh=41), v6(), ra()))
show("allowed", "question for an address", ether(ARP(psrc="10.9.0.66", pdst="10.9.0.99", hwsrc=MAC), to=EVERYBODY))
show("allowed", "a vendor's protocol in LLC/SNAP", snap(Raw(bytes(40)), oui=0x00000c, code=0x0800))
