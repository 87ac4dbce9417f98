"""Frames that a host sends to its bridge, one in a line: what it is, and its bytes. Argument: the source MAC."""

import sys

import scapy.config
scapy.config.conf.ipv6_enabled = False
from scapy.contrib.lacp import LACP, SlowProtocol
from scapy.contrib.lldp import (LLDPDU, LLDPDUChassisID, LLDPDUEndOfLLDPDU, LLDPDUPortID, LLDPDUSystemName, LLDPDUTimeToLive)
from scapy.layers.eap import EAP, EAPOL
from scapy.layers.l2 import Dot3, Ether, LLC, STP

source = sys.argv[1]
lldp = (LLDPDUChassisID(subtype=4, id=source) / LLDPDUPortID(subtype=3, id=source) / LLDPDUTimeToLive(ttl=120)
        / LLDPDUSystemName(system_name="vm1") / LLDPDUEndOfLLDPDU())
frames = [
    ("lldp", Ether(src=source, dst="01:80:c2:00:00:0e", type=0x88cc) / lldp),
    ("lacp", Ether(src=source, dst="01:80:c2:00:00:02") / SlowProtocol() / LACP(actor_system=source)),
    ("eapol", Ether(src=source, dst="01:80:c2:00:00:03") / EAPOL(version=2, type=1)),
    ("eapol", Ether(src=source, dst="01:80:c2:00:00:03") / EAPOL(version=2, type=0) / EAP(code=2, type=1, identity=b"vm1")),
    ("stp", Dot3(src=source, dst="01:80:c2:00:00:00") / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP()),
]
for name, frame in frames:
    print(name, bytes(frame).ljust(60, b"\0").hex())
