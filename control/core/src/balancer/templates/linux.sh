#!/bin/sh
# dsr: what each of the {{count}} members does, on Linux, as root. What it sets lasts until the next start; how it lasts longer is said below.
# Made by: ringfarm lb render dsr --for linux
#
# The members and the balancer are in one network segment, no router between them: packets are handed on by MAC address.
set -e

# The VIP is an alias of the loopback device, so that packets for it are this host's, and only there.
%each family
%if v4
ip address replace {{vip}}/32 dev lo
%end
%if v6
ip address replace {{vip}}/128 dev lo nodad
%end
%end
%if has_v4

# ARP: say nothing of an address that is not the asked device's own, and ask with an address that is. Both for all
# devices and for each: the greater of the two values holds.
for device in all default $(ls /sys/class/net); do
	[ "$device" != lo ] || continue
	sysctl -q -w "net.ipv4.conf.$device.arp_ignore=1" "net.ipv4.conf.$device.arp_announce=2"
done
%end
%if has_v6
# IPv6: Linux answers neighbours only for addresses of the device that they ask on, so nothing is to be set.
%end

# The node takes it up at once; without this within 5 s.
if [ -S /run/ringfarm/control.sock ]; then ringfarm refresh; fi

# To make it last, the address:
#   systemd-networkd   /etc/systemd/network/10-ringfarm-vip.network
#                          [Match]
#                          Name=lo
#                          [Network]
%each family
#                          Address={{vip}}/{{bits}}
%end
#   NetworkManager     (1.42 or newer)
%each family
#                      nmcli connection modify lo +ip{{n}}.addresses {{vip}}/{{bits}} && nmcli connection up lo
%end
#   Debian, ifupdown   /etc/network/interfaces, under "iface lo inet loopback":
%each family
#                          up ip address replace {{vip}}/{{bits}} dev lo
%end
%if has_v4
#   before 2015 or so  {{ifconfig}}
#                      for good, on Red Hat and its kin, /etc/sysconfig/network-scripts/ifcfg-lo:0 with the lines
#                          DEVICE=lo:0 / IPADDR={{vip4}} / NETMASK=255.255.255.255 / ONBOOT=yes
# and the silence, where eth0 stands for each device:
#   now                /etc/sysctl.d/90-ringfarm-dsr.conf, then: sysctl --system
#   formerly           /etc/sysctl.conf, then: sysctl -p
#                          net.ipv4.conf.all.arp_ignore = 1
#                          net.ipv4.conf.all.arp_announce = 2
#                          net.ipv4.conf.eth0.arp_ignore = 1
#                          net.ipv4.conf.eth0.arp_announce = 2
%end
#
# The check, on each member and from a client's host:
#   ringfarm doctor
%each family
#   ringfarm doctor --from-outside {{vip}}
%end
