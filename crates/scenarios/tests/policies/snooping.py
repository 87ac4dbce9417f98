"""Frames of multicast hosts, queriers and liars, one in a line: its name and its bytes.

Arguments: the source MAC, and for `queries` nothing more than that: what a switch with that MAC has to send.
"""

import sys

import scapy.config
scapy.config.conf.ipv6_enabled = False
from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3gr, IGMPv3mr
from scapy.layers.inet import IP, IPOption_Router_Alert, UDP
from scapy.layers.inet6 import (ICMPv6MLDMultAddrRec, ICMPv6MLDone, ICMPv6MLQuery, ICMPv6MLReport2, ICMPv6ND_NS, IPv6,
                                IPv6ExtHdrHopByHop, RouterAlert, in6_getnsma, in6_getnsmac)
from scapy.layers.l2 import Ether
from scapy.utils6 import in6_mactoifaceid
import socket

mac = sys.argv[1]
host = "192.0.2.%d" % int(mac[-2:], 16)
local = "fe80::" + in6_mactoifaceid(mac)


def mac_of(group):
    if ":" in group:
        return "33:33:" + ":".join("%02x" % b for b in socket.inet_pton(socket.AF_INET6, group)[12:])
    b = socket.inet_pton(socket.AF_INET, group)
    return "01:00:5e:%02x:%02x:%02x" % (b[1] & 0x7f, b[2], b[3])


def ether(group):
    return Ether(src=mac, dst=mac_of(group))


def igmp(to, message, ttl=1, options=None, source=host, **fields):
    options = [IPOption_Router_Alert()] if options is None else options
    return ether(to) / IP(src=source, dst=to, ttl=ttl, tos=0xc0, id=0, proto=2, options=options, **fields) / message


def report(group, **fields):
    return igmp(group, IGMP(type=0x16, mrcode=0, gaddr=group), **fields)


def v3(records, number=None):
    return igmp("224.0.0.22", IGMPv3(type=0x22) / IGMPv3mr(records=records, numgrp=number))


def mld(to, message, hlim=1, source=local):
    return ether(to) / IPv6(src=source, dst=to, hlim=hlim) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message


def mld_report(groups, **fields):
    records = [ICMPv6MLDMultAddrRec(rtype=4, dst=group) for group in groups]
    return mld("ff02::16", ICMPv6MLReport2(records=records), **fields)


def data(group):
    if ":" in group:
        return ether(group) / IPv6(src=local, dst=group, hlim=4) / UDP(sport=5000, dport=5000) / b"data"
    return ether(group) / IP(src=host, dst=group, ttl=4, id=0) / UDP(sport=5000, dport=5000) / b"data"


def spoilt(frame, at):
    bytes_ = bytearray(bytes(frame))
    bytes_[at] ^= 1
    return bytes(bytes_)


long = v3([IGMPv3gr(rtype=4, maddr="239.2.0.%d" % n) for n in range(250)])
solicited = in6_getnsma(socket.inet_pton(socket.AF_INET6, "fe80::42"))
frames = [
    ("query4", igmp("224.0.0.1", IGMP(type=0x11, mrcode=10, gaddr="0.0.0.0"), source="0.0.0.0")),
    ("query6", mld("ff02::1", ICMPv6MLQuery(mrd=1000))),
    ("router4", igmp("224.0.0.1", IGMP(type=0x11, mrcode=10, gaddr="0.0.0.0"))),
    ("join", report("239.1.2.3")),
    ("leave", igmp("224.0.0.2", IGMP(type=0x17, mrcode=0, gaddr="239.1.2.3"))),
    ("join3", v3([IGMPv3gr(rtype=4, maddr="239.1.2.4")])),
    ("join6", mld_report(["ff02::1:ff00:42", "ff05::1:3"])),
    ("long", long),
    ("long6", mld_report(["ff05::7:%x" % n for n in range(250)])),
    ("last", data("239.2.0.249")),
    ("last6", data("ff05::7:f9")),
    ("damaged", spoilt(long, 1000)),
    ("data", data("239.1.2.3")),
    ("data3", data("239.1.2.4")),
    ("data6", data("ff05::1:3")),
    ("unwanted", data("239.9.9.9")),
    ("unwanted6", data("ff05::9")),
    ("mdns", data("224.0.0.251")),
    ("mdns6", data("ff02::fb")),
    ("solicitation", Ether(src=mac, dst=in6_getnsmac(solicited)) / IPv6(src=local, dst=socket.inet_ntop(socket.AF_INET6, solicited), hlim=255)
     / ICMPv6ND_NS(tgt="fe80::42")),
    # What must not be believed; each joins 239.9.9.9 or ff05::9.
    ("lie ttl", report("239.9.9.9", ttl=2)),
    ("lie checksum", spoilt(report("239.9.9.9"), 40)),
    ("lie ip checksum", spoilt(report("239.9.9.9"), 24)),
    ("lie fragment", report("239.9.9.9", flags=1)),
    ("lie truncated", report("239.9.9.9", len=200)),
    ("lie group", igmp("239.9.9.9", IGMP(type=0x16, mrcode=0, gaddr="239.9.9.8"))),
    ("local lie records", v3([IGMPv3gr(rtype=4, maddr="239.9.9.9")], number=3)),
    ("local lie hop limit", mld_report(["ff05::9"], hlim=2)),
    ("local lie source", mld_report(["ff05::9"], source="2001:db8::9")),
    ("local lie mld checksum", spoilt(mld_report(["ff05::9"]), 65)),
]
for name, frame in frames:
    print(name.replace(" ", "-"), bytes(frame).hex())
