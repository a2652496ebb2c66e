#!/bin/sh
# dsr: what a host with FreeBSD does that serves {{vips}} beside the members (Ringfarm itself runs on Linux), as root.
# Made by: ringfarm lb render dsr --for freebsd
#
# The host and the balancer are in one network segment, no router between them: packets are handed on by MAC address.
# FreeBSD answers ARP and neighbours only for addresses of the device that they ask on, so nothing is to be silenced.
set -e
%each family
%if v4
ifconfig lo0 alias {{vip}} netmask 255.255.255.255
sysrc ifconfig_lo0_alias0="inet {{vip}} netmask 255.255.255.255"
%end
%if v6
ifconfig lo0 inet6 {{vip}} prefixlen 128 alias
sysrc ifconfig_lo0_alias1="inet6 {{vip}} prefixlen 128"
%end
%end
# `sysrc` writes it into /etc/rc.conf; formerly one wrote the same line there by hand:
%each family
%if v4
#   ifconfig_lo0_alias0="inet {{vip}} netmask 255.255.255.255"
%end
%if v6
#   ifconfig_lo0_alias1="inet6 {{vip}} prefixlen 128"
%end
%end
# Numbers of aliases go up without a gap: if alias0 is taken there, use the next one.
