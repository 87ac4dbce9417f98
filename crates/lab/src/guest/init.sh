#!/bin/busybox sh
# Init of the lab's guest: loads the modules, then answers commands on the serial console (see console.rs).
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=100% tmp /tmp
for module in $(cat /lib/modules/order); do
    insmod "/lib/modules/$module" || echo "cannot load $module"
done
# The lab sends what it wants to send: no probes for duplicate addresses, no search for routers.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/router_solicitations
for all in /proc/sys/net/ipv6/conf/eth*; do
    echo 0 >"$all/accept_dad"
    echo 0 >"$all/router_solicitations"
done
ip link set lo up
exec </dev/ttyS0 >/dev/ttyS0 2>/dev/null
stty raw -echo
echo
echo @@ready
while read -r number command; do
    echo "$command" | base64 -d >/tmp/command
    sh /tmp/command </dev/null >/tmp/output 2>&1
    echo "@@$number $? $(base64 -w 0 /tmp/output)"
done
poweroff -f
